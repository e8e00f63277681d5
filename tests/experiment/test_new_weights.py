"""Tests new weights under the old mask: reinit, scratch_e, scratch_b and their control."""

import pytest
from whole_runs import PER_EPOCH, SAMPLES, TWO_LEVELS, WEIGHTS, differing, under, whole_run

from harness.models.mlp import Mlp
from harness.training.state_files import build_seeded
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors, clone_tensors

MODES = {
    "reinit": ("finetune=reinit",),
    "scratch_e": ("finetune=scratch_e",),
    "scratch_b": ("finetune=scratch_b",),
    "control": ("finetune=keep", "control=reinitialised"),
}


def new(level: int) -> Tensors:
    """Returns the state of the model that the run's seed, 0, gives this level."""
    network = build_seeded(lambda: Mlp(hidden=[6]).build((8,), 4), derive(0, "reinit", level))
    return clone_tensors(network.state_dict())


@pytest.mark.parametrize("mode", MODES)
def test_weights_are_new_at_every_level_and_the_masks_those_of_pruning(tmp_path, mode) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, *MODES[mode])
    everything = list(new(1))
    assert differing(new(1), new(2)) == everything
    for level in (1, 2):
        masks = whole.masks[level, "pruned"]
        state = whole.starts[level][1]
        assert differing(state, under(masks, new(level))) == []
        assert differing(state, whole.networks[level, "pruned"]) == everything
        assert differing(masks, whole.masks[level, "finetuned"]) == []
        assert differing(state, under(masks, whole.starts[0][1])) == everything


def test_another_seed_gives_other_new_weights(tmp_path) -> None:
    whole = whole_run(tmp_path, "finetune=reinit", "seed=1")
    masks = whole.masks[1, "pruned"]
    assert differing(whole.starts[1][1], under(masks, new(1))) == list(new(1))


@pytest.mark.parametrize("mode", ["reinit", "scratch_e"])
def test_every_level_is_pruned_from_what_the_level_before_has_trained(tmp_path, mode) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, f"finetune={mode}")
    before, after = (whole.networks[place] for place in ((1, "finetuned"), (2, "pruned")))
    assert differing(after, under(whole.masks[2, "pruned"], before)) == []


# 72 multiply-accumulates dense; left of them, and round(epochs x 72 / left).
@pytest.mark.parametrize(
    ("epochs", "final", "left", "lasts"),
    [(3, 0.4, 29, 7), (2, 0.5, 36, 4), (5, 0.1, 7, 51), (1, 0.7, 50, 1), (4, 0.9, 65, 4)],
)
def test_scratch_b_trains_as_long_as_dense_training_costs(tmp_path, epochs, final, left, lasts):
    whole = whole_run(
        tmp_path, "finetune=scratch_b", f"training.epochs={epochs}", f"schedule.final={final}"
    )
    dense, finetuned = whole.record(0, "dense"), whole.record(1, "finetuned")
    assert finetuned.macs == left
    assert (finetuned.epochs, finetuned.steps) == (lasts, lasts * PER_EPOCH)
    assert dense.training_flops == 6 * WEIGHTS * SAMPLES * epochs
    assert finetuned.training_flops == 6 * left * SAMPLES * lasts
    half_an_epoch = 6 * left * SAMPLES / 2
    assert abs(finetuned.training_flops - dense.training_flops) <= half_an_epoch


def test_scratch_b_is_as_long_as_each_levels_own_masks_ask_for(tmp_path) -> None:
    # 36 weights of 72 at level 1 and 18 at level 2: 2 and 4 times the 2 epochs.
    whole = whole_run(tmp_path, *TWO_LEVELS, "finetune=scratch_b")
    assert [whole.record(level, "finetuned").epochs for level in (1, 2)] == [4, 8]


@pytest.mark.parametrize(("limit", "lasts"), [("2", 6), ("1", 3), ("1.5", 4), ("100", 7)])
def test_a_limit_shortens_scratch_b(tmp_path, limit, lasts) -> None:
    # 72 / 29 x 3 = 7.4 epochs without it; 1.5 x 3 = 4.5, of which the even neighbour is 4.
    whole = whole_run(
        tmp_path, "finetune=scratch_b", f"finetune.limit={limit}", "training.epochs=3",
        "schedule.final=0.4",
    )  # fmt: skip
    assert whole.record(1, "finetuned").epochs == lasts


def test_scratch_e_trains_as_many_epochs_whatever_is_left(tmp_path) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, "finetune=scratch_e")
    assert [whole.record(level, "finetuned").epochs for level in (1, 2)] == [2, 2]


def test_for_whole_neurons_scratch_b_counts_what_the_pruned_network_computes(tmp_path) -> None:
    # A third of the 6 neurons of 8 weights stays, with a third of the 24 weights of the last
    # layer, and 72 / 24 x 2 = 6.
    whole = whole_run(tmp_path, "finetune=scratch_b", "structure=neuron", "schedule.final=0.34")
    finetuned = whole.record(1, "finetuned")
    assert (finetuned.macs, finetuned.epochs) == (24, 6)
    assert finetuned.training_flops == 6 * 24 * SAMPLES * 6
