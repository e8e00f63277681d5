"""Tests what training has cost, by hand: 6 x multiply-accumulates x examples, stage by stage."""

import pytest
import safetensors.torch
from conftest import CONF, cases
from whole_runs import SAMPLES, TWO_LEVELS, WEIGHTS, Whole, whole_run

PENALTY = ("penalty=l1", "penalty.epochs=3")


def cost(whole: Whole, level: int, stage: str) -> tuple[object, ...]:
    record = whole.record(level, stage)
    return (
        *(record.epochs, record.steps, record.examples),
        *(record.training_flops, record.training_flops_dense, record.optimizer_state),
    )


NOTHING = (0, 0, 0, 0, 0, "")


def test_dense_training_and_retraining_at_half_the_weights(tmp_path) -> None:
    whole = whole_run(tmp_path)
    # 2 epochs of 16 + 16 + 8 samples, 72 multiply-accumulates each: 6 x 72 x 80.
    assert cost(whole, 0, "dense") == (2, 6, 80, 34_560, 34_560, "reset")
    assert cost(whole, 1, "pruned") == NOTHING
    assert cost(whole, 1, "finetuned") == (1, 3, 40, 8_640, 17_280, "reset")


@cases(
    "start, expected",
    # Of 6 steps the last 2: of 16 and 8 samples.
    ("finetune.step=4", (2 / 3, 2, 24, 5_184, 10_368, "reset")),
    # The last alone.
    ("finetune.step=5", (1 / 3, 1, 8, 1_728, 3_456, "reset")),
    # The last 4: 8 samples, and a whole epoch.
    ("finetune.step=2", (4 / 3, 4, 48, 10_368, 20_736, "reset")),
    ("finetune.step=3", (1, 3, 40, 8_640, 17_280, "reset")),
    ("finetune.step=6", NOTHING),
)
def test_retraining_from_within_an_epoch_counts_partial_batches_as_they_are(
    tmp_path, start, expected
) -> None:
    whole = whole_run(tmp_path, "finetune=weight_rewind", start)
    assert cost(whole, 1, "finetuned") == pytest.approx(expected)


def test_a_penalty_is_paid_under_the_masks_of_the_level_before(tmp_path) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, *PENALTY)
    # 3 epochs of 40 samples, with all 72 weights before level 1 and 36 of them before level 2.
    assert cost(whole, 1, "penalised") == (3, 9, 120, 51_840, 51_840, "reset")
    assert cost(whole, 1, "finetuned") == (1, 3, 40, 8_640, 17_280, "reset")
    assert cost(whole, 2, "penalised") == (3, 9, 120, 25_920, 51_840, "reset")
    assert cost(whole, 2, "finetuned") == (1, 3, 40, 4_320, 17_280, "reset")


def test_a_teacher_is_paid_for_by_retraining_alone(tmp_path) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, *PENALTY, "distillation=hinton")
    assert cost(whole, 0, "dense") == (2, 6, 80, 34_560, 34_560, "reset")
    assert cost(whole, 1, "penalised") == (3, 9, 120, 51_840, 51_840, "reset")
    # Its forward pass: 2 x 72 x 40 = 5,760 more.
    assert cost(whole, 1, "finetuned") == (1, 3, 40, 14_400, 17_280, "reset")
    assert cost(whole, 2, "finetuned") == (1, 3, 40, 10_080, 17_280, "reset")


def test_recalibration_costs_no_training(tmp_path) -> None:
    whole = whole_run(
        tmp_path, "model.batch_norm=true", "recalibration=batch_norm", "recalibration.samples=40"
    )
    assert cost(whole, 1, "recalibrated") == NOTHING


@cases("weights", False, True)
def test_dense_training_of_no_epochs_has_cost_nothing(tmp_path, weights) -> None:
    given = tmp_path / "given.safetensors"
    first = whole_run(tmp_path / "a")
    safetensors.torch.save_file(first.networks[0, "dense"], given)
    source = f"weights={given}" if weights else "weights=null"
    whole = whole_run(tmp_path / "b", "training.epochs=0", source)
    assert cost(whole, 0, "dense") == NOTHING
    assert cost(whole, 1, "finetuned") == (1, 3, 40, 8_640, 17_280, "reset")


def test_a_dense_training_that_was_found_in_the_cache_has_cost_the_same(tmp_path) -> None:
    first, second = whole_run(tmp_path), whole_run(tmp_path)
    assert len(first.of(0)) == 6 and not second.of(0)
    assert first.records == second.records


def test_a_run_that_prunes_at_initialisation_has_no_dense_training(tmp_path) -> None:
    whole = whole_run(tmp_path, "prune_at=init", "training.epochs=2")
    assert cost(whole, 0, "initial") == NOTHING
    assert cost(whole, 1, "finetuned") == (1, 3, 40, 8_640, 17_280, "reset")


@pytest.mark.parametrize(
    "mode", sorted(file.stem for file in (CONF / "finetune").glob("*.yaml")), ids=str
)
def test_what_is_recorded_is_what_was_done(tmp_path, mode) -> None:
    """Steps and examples as the optimizer saw them, and the sum over the run in closed form."""
    whole = whole_run(tmp_path, *TWO_LEVELS, *PENALTY, f"finetune={mode}", "training.epochs=4")

    trainings = {(0, "dense"): 0, (1, "penalised"): "1/penalty", (2, "penalised"): "2/penalty"}
    if mode != "none":
        trainings |= {(1, "finetuned"): 1, (2, "finetuned"): 2}
    assert len(whole.steps) == sum(record.steps for record in whole.records)
    left = {0: WEIGHTS, 1: WEIGHTS // 2, 2: WEIGHTS // 4}
    flops, flops_dense = 0, 0
    for (level, stage), streams in trainings.items():
        steps = whole.of(streams)
        examples = sum(len(labels) for step in steps for _, labels in step.batches)
        record = whole.record(level, stage)
        assert (record.steps, record.examples) == (len(steps), examples)
        assert record.epochs * SAMPLES == examples
        flops += 6 * left[level - (stage == "penalised")] * examples
        flops_dense += 6 * WEIGHTS * examples
    assert sum(record.training_flops or 0 for record in whole.records) == flops
    assert sum(record.training_flops_dense or 0 for record in whole.records) == flops_dense
