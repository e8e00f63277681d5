"""Tests runs whose model multiplies by more than its layers' weights: records and refusals."""

import json
from dataclasses import asdict

import pytest
from conftest import cases
from whole_runs import whole_run

from harness.run_folder import records

RECURRENT = "model._target_=parts.RecurrentModel"
PROTOTYPES = "model._target_=parts.PrototypesModel"
# Steps 8, gates 4 x 16 of 8 inputs and 16 states.
LSTM = 8 * 64 * (8 + 16)
# 8 weights at 8 steps, and the classifier's 16 x 4.
LINEAR = 8 * 8 + 64


def test_pruning_what_costs_next_to_nothing_speeds_up_by_next_to_nothing(tmp_path) -> None:
    whole = whole_run(tmp_path, RECURRENT, "schedule.final=0.25")
    dense, pruned = whole.record(0, "dense"), whole.record(1, "pruned")
    assert (dense.macs, dense.speedup) == (LSTM + LINEAR, 1.0)
    assert dense.training_flops == 6 * (LSTM + LINEAR) * 80
    kept = pruned.layers
    left = LSTM + round(8 * kept["before.weight"]) * 8 + round(64 * kept["classifier.weight"])
    assert pruned.macs == left
    assert pruned.speedup == (LSTM + LINEAR) / left < 1.02


def test_a_speed_up_that_only_an_emptied_classifier_would_give_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError) as refusal:
        whole_run(tmp_path, RECURRENT, "schedule.unit=speedup", "schedule.final=4")
    assert str(refusal.value) == (
        f"speedup 4 cannot be reached: {LSTM} of {LSTM + LINEAR} are never removed by this "
        "structure; ask for at most 1.01041"
    )


def test_what_an_unknown_operator_multiplies_is_told_and_not_guessed(tmp_path) -> None:
    whole = whole_run(tmp_path, PROTOTYPES)
    for record in whole.records:
        assert record.uncounted_operators == {"aten._cdist_forward.default": ["rows.weight"]}
        costs = (record.training_flops, record.training_flops_dense)
        assert (record.speedup, record.macs, *costs) == (None,) * 4
        assert record.examples is not None and record.density <= 1


@cases(
    "asked, says",
    (("schedule.unit=speedup", "schedule.final=2"), "speedup cannot be counted in multiply-"),
    (("allocation.budget=macs",), "cannot be counted in multiply-accumulates: how often aten."),
    (("finetune=scratch_b",), "finetune has a length that depends on the multiply-accumulates"),
)
def test_what_counts_on_unknown_multiplications_is_refused_before_any_training(
    asked, says, tmp_path
) -> None:
    with pytest.raises(ValueError, match=f"{says}.*multiplies rows.weight is not known"):
        whole_run(tmp_path, PROTOTYPES, *asked)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_no_record_holds_an_infinite_number(tmp_path) -> None:
    whole = whole_run(tmp_path, "schedule.final=0.25")
    (found,) = [one for one in whole.records if one.stage == "pruned"]
    numbers = {"loss": float("nan"), "validation_loss": float("inf"), "compression": float("inf")}
    odd = records.Record(**{**asdict(found), **numbers, "epoch_losses": [1.0, float("nan")]})
    assert (odd.loss, odd.validation_loss, odd.compression) == (None, None, None)
    line = json.loads(records.to_line(odd), parse_constant=pytest.fail)
    assert line["epoch_losses"] == [1.0, None]
    path = tmp_path / "records.jsonl"
    records.append(path, odd)
    assert records.read(path) == [odd]
    path.write_text(path.read_text().replace('"loss": null', '"loss": NaN'))
    with pytest.raises(ValueError, match="line 1 is not JSON .NaN is no number."):
        records.read(path)
