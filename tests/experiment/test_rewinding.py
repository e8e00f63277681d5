"""Tests where a retraining begins: weights, buffers, rate, data and optimizer, to the bit."""

import pytest
import torch
from conftest import cases
from whole_runs import BATCH_NORM, PER_EPOCH, TWO_LEVELS, Whole, differing, plain, under, whole_run

from harness.training.batches.batching import epoch_order
from harness.vocabulary.step_index import StepIndex

# Batch statistics, dropout and augmentation: all that a replayed training could get wrong.
DROPPING = ("model._target_=parts.Dropping", "+training.augmentation._target_=parts.Shifting")
SIX_EPOCHS = "training.epochs=6"

# Mode -> steps of dense training, of 3 an epoch, that its weights have behind them.
REWINDS = {
    ("finetune=weight_rewind", "finetune.epoch=2"): 6,
    ("finetune=weight_rewind",): 3,
    ("finetune=weight_rewind", "finetune.epoch=0"): 0,
    ("finetune=weight_rewind", "finetune.step=4"): 4,
    ("finetune=weight_rewind", "finetune.step=6"): 6,
    ("finetune=weight_rewind", "finetune.step=17"): 17,
    ("finetune=weight_rewind", "finetune.epochs=1"): 15,
    ("finetune=rewind_to_init",): 0,
}
EVERY_REWIND = pytest.mark.parametrize(("mode", "steps"), REWINDS.items(), ids=str)
EVERY_LATER_REWIND = pytest.mark.parametrize(
    ("mode", "steps"), [(mode, steps) for mode, steps in REWINDS.items() if steps > 3], ids=str
)


def check_starts(whole: Whole, steps: int) -> None:
    """Verifies at both levels the state of so many steps under that level's masks, nothing else."""
    states = plain(whole.levels)
    assert len(states) == 6 * PER_EPOCH + 1
    for level in (1, 2):
        moment, state = whole.starts[level]
        masks = whole.masks[level, "pruned"]
        assert moment == divmod(steps, PER_EPOCH)
        assert differing(state, under(masks, states[steps])) == []
        assert differing(state, states[steps]) == list(masks)


@EVERY_REWIND
def test_retraining_begins_at_the_weights_stored_on_the_way_times_the_mask(tmp_path, mode, steps):
    whole = whole_run(tmp_path, *DROPPING, SIX_EPOCHS, *TWO_LEVELS, *mode)
    check_starts(whole, steps)
    assert len(whole.of(0)) == 6 * PER_EPOCH


@EVERY_LATER_REWIND
def test_weights_that_nobody_stored_are_trained_again_to_the_same_bits(tmp_path, mode, steps):
    shared = (*DROPPING, SIX_EPOCHS, *TWO_LEVELS)
    whole_run(tmp_path, *shared, "finetune=none")
    whole = whole_run(tmp_path, *shared, *mode)
    check_starts(whole, steps)
    # As many steps as it takes, once for both levels.
    assert len(whole.of(0)) == steps


def test_epochs_that_were_kept_are_not_trained_again(tmp_path) -> None:
    shared = (*DROPPING, SIX_EPOCHS, *TWO_LEVELS)
    whole_run(tmp_path, *shared, "finetune=none", "dense_checkpoints=[2]")
    whole = whole_run(tmp_path, *shared, "finetune=weight_rewind", "finetune.epoch=2")
    check_starts(whole, 6)
    assert whole.of(0) == []


@cases("mode", "keep", "lr_rewind")
def test_modes_that_rewind_no_weights_go_on_with_what_pruning_left(tmp_path, mode) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, BATCH_NORM, f"finetune={mode}")
    for level in (1, 2):
        assert differing(whole.starts[level][1], whole.networks[level, "pruned"]) == []


def test_statistics_of_batch_norm_are_rewound_with_the_weights(tmp_path) -> None:
    whole = whole_run(tmp_path, BATCH_NORM, "finetune=weight_rewind", "finetune.step=2")
    state = whole.starts[1][1]
    assert state["bn1.num_batches_tracked"] == 2
    assert differing(state, whole.networks[1, "pruned"]) == [
        *("fc1.weight", "fc1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean"),
        *("bn1.running_var", "bn1.num_batches_tracked", "fc2.weight", "fc2.bias"),
    ]


def test_a_retraining_sees_the_samples_of_its_level_and_epoch(tmp_path) -> None:
    whole = whole_run(tmp_path, "finetune=weight_rewind", "finetune.step=4")
    inputs = whole.levels.context.workload.splits.train.inputs
    order = epoch_order(40, 0, 1, epoch=1).split(16)
    assert [step.at for step in whole.of(1)] == [StepIndex(1, 1), StepIndex(1, 2)]
    for step, indices in zip(whole.of(1), order[1:], strict=True):
        assert step.batches[0][0].equal(inputs[indices])


def test_a_retraining_from_within_an_epoch_sees_what_one_from_its_beginning_sees_there(tmp_path):
    early, late = (
        whole_run(tmp_path, *DROPPING, "training.epochs=3", "finetune=weight_rewind", start)
        for start in ("finetune.epoch=1", "finetune.step=5")
    )
    assert [step.at for step in late.of(1)] == [(1, 2), (2, 0), (2, 1), (2, 2)]
    for one, other in zip(early.of(1)[2:], late.of(1), strict=True):
        assert one.at == other.at
        assert one.batches[0][0].equal(other.batches[0][0])
        assert one.batches[0][1].equal(other.batches[0][1])


def test_each_level_has_an_order_and_an_augmentation_of_its_own(tmp_path) -> None:
    whole = whole_run(tmp_path, *DROPPING, *TWO_LEVELS, "finetune=lr_rewind")
    first = [whole.of(level)[0].batches[0] for level in (0, 1, 2)]
    assert not first[0][0].equal(first[1][0]) and not first[1][0].equal(first[2][0])


@cases(
    "optimizer, mode",
    ("sgd", "keep"),
    ("adam", "lr_rewind"),
    ("adamw", "weight_rewind"),
    ("sgd", "reinit"),
    ("adam", "scratch_b"),
)
def test_every_training_begins_with_an_optimizer_without_state_and_says_so(
    tmp_path, optimizer, mode
) -> None:
    whole = whole_run(
        tmp_path, *TWO_LEVELS, f"finetune={mode}", "penalty=l1", "training.epochs=3",
        f"training={optimizer}", f"training@retraining={optimizer}",
    )  # fmt: skip
    trainings = [0, "1/penalty", 1, "2/penalty", 2]
    assert list(whole.starts) == trainings
    for streams in trainings:
        assert [step.new for step in whole.of(streams)][:3] == [True, False, False]
    assert {r.stage: r.optimizer_state for r in whole.records} == {
        "dense": "reset", "penalised": "reset", "pruned": "", "finetuned": "reset",
    }  # fmt: skip


def norm_by_hand(whole: Whole) -> float:
    """Returns the norm of the live gradients of level 1's last step.

    The loss is the mean over the step's 8 samples.
    """
    step = whole.of(1)[-1]
    weights = {name: w.clone().requires_grad_() for name, w in step.weights.items()}
    inputs = torch.cat([inputs for inputs, _ in step.batches])
    labels = torch.cat([labels for _, labels in step.batches])
    hidden = (inputs @ weights["fc1.weight"].T + weights["fc1.bias"]).relu()
    outputs = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    torch.nn.functional.cross_entropy(outputs, labels).backward()
    masks = whole.masks[1, "finetuned"]
    gradients = {name: w.grad for name, w in weights.items() if w.grad is not None}
    return sum(float(g.square().sum()) for g in under(masks, gradients).values()) ** 0.5


@cases("clip", "null", "1e-3")
@cases("parts", 1, 2)
def test_the_recorded_norm_is_that_of_live_gradients_before_clipping(tmp_path, clip, parts) -> None:
    whole = whole_run(
        tmp_path, "dtype=float64", "schedule.final=0.1", f"retraining.accumulate={parts}",
        f"retraining.clip_norm={clip}",
    )  # fmt: skip
    by_hand = norm_by_hand(whole)
    assert whole.record(1, "finetuned").gradient_norm == pytest.approx(by_hand, rel=1e-9)
    used = whole.of(1)[-1].gradients.values()
    norm = sum(float(gradient.square().sum()) for gradient in used) ** 0.5
    assert norm == pytest.approx(by_hand if clip == "null" else 1e-3, rel=1e-4)
    assert whole.record(1, "pruned").gradient_norm is None
