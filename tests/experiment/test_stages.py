"""Tests what lies between a pruning and its retraining: clipping is always recorded, statistics of
BatchNorm may be taken anew."""

from dataclasses import asdict

import pytest
import torch
from conftest import CONF
from torch.nn.functional import cross_entropy
from whole_runs import BATCH_NORM, TWO_LEVELS, differing, under, whole_run

MODES = sorted(file.stem for file in (CONF / "finetune").glob("*.yaml"))
RECALIBRATION = ("recalibration=batch_norm", "recalibration.samples=40")
MEASURED = (
    "top1", "top5", "loss", "validation_top1", "validation_loss", "density", "parameters", "masks"
)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_accuracy_right_after_removal_is_recorded_in_every_mode(tmp_path, mode) -> None:
    """Tests clipping (Janowsky 1989): the dense model with its smallest weights removed."""
    whole = whole_run(tmp_path, *TWO_LEVELS, f"finetune={mode}")

    stages = ("pruned",) if mode == "none" else ("pruned", "finetuned")
    assert whole.stages == [(0, "dense"), *((level, s) for level in (1, 2) for s in stages)]
    test = whole.levels.context.workload.splits.test
    for level, before in ((1, (0, "dense")), (2, (1, stages[-1]))):
        clipped = under(whole.masks[level, "pruned"], whole.networks[before])
        network = whole.levels.context.workload.initial_model()
        network.load_state_dict(clipped)
        outputs = network(test.inputs).detach()
        record = whole.record(level, "pruned")
        assert record.top1 == float((outputs.argmax(1) == test.labels).double().mean())
        assert record.loss == pytest.approx(float(cross_entropy(outputs, test.labels)), rel=1e-5)
        assert record.steps == 0


def test_both_readings_of_level_1_are_of_the_same_removal_in_every_mode(tmp_path) -> None:
    found = [
        asdict(whole_run(tmp_path, f"finetune={mode}").record(1, "pruned"))
        for mode in ("none", "keep", "weight_rewind", "scratch_b")
    ]
    assert all(record == found[0] for record in found)


@pytest.mark.parametrize("mode", ["keep", "none"])
def test_recalibration_changes_statistics_alone_and_is_a_stage_of_its_own(tmp_path, mode) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, BATCH_NORM, *RECALIBRATION, f"finetune={mode}")
    stages = ("pruned", "recalibrated", *(() if mode == "none" else ("finetuned",)))
    assert whole.stages == [(0, "dense"), *((level, s) for level in (1, 2) for s in stages)]
    for level in (1, 2):
        before, after = (whole.networks[level, s] for s in ("pruned", "recalibrated"))
        assert differing(before, after) == ["bn1.running_mean", "bn1.running_var"]
        assert differing(*(whole.masks[level, s] for s in ("pruned", "recalibrated"))) == []
        pruned, recalibrated = (whole.record(level, s) for s in ("pruned", "recalibrated"))
        assert pruned.loss != recalibrated.loss
        assert pruned.masks == recalibrated.masks


def test_recalibrated_statistics_are_those_of_the_pruned_network_on_training_inputs(tmp_path):
    whole = whole_run(tmp_path, "dtype=float64", BATCH_NORM, *RECALIBRATION)
    state = whole.networks[1, "recalibrated"]
    hidden = (
        whole.levels.context.workload.splits.train.inputs @ state["fc1.weight"].T
        + state["fc1.bias"]
    )
    # All 40 inputs at once.
    torch.testing.assert_close(state["bn1.running_mean"], hidden.mean(0))
    torch.testing.assert_close(state["bn1.running_var"], hidden.var(0))


def test_retraining_goes_on_from_recalibrated_statistics(tmp_path) -> None:
    whole = whole_run(tmp_path, BATCH_NORM, *RECALIBRATION, "finetune=keep")
    assert differing(whole.starts[1][1], whole.networks[1, "recalibrated"]) == []


def test_recalibration_does_not_change_what_a_rewound_network_becomes(tmp_path) -> None:
    without, with_it = (
        whole_run(tmp_path, BATCH_NORM, "finetune=weight_rewind", *more)
        for more in ((), RECALIBRATION)
    )
    finetuned = (1, "finetuned")
    assert differing(without.networks[finetuned], with_it.networks[finetuned]) == []
