"""Which stages and levels of a run are results."""

import json
import math
from typing import Any

import pytest
from survey_records import dense, make, notes, only, pruned, write_run

from harness.cli.report import main
from harness.report.read.load import load
from harness.report.significance.summary import cell
from harness.run_folder.records import Record


def at(level: int, stage: str, top1: float, asked: float, **changes: Any) -> Record:
    return make(level=level, stage=stage, top1=top1, requested_compression=asked, **changes)


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_the_last_stage_of_a_level_counts_whatever_the_alphabet_says(last, tmp_path) -> None:
    stages = ["penalised", "pruned", "recalibrated", "finetuned"][:last]
    rows = [make(stage=stage, top1=(n + 1) / 10) for n, stage in enumerate(stages)]
    write_run(tmp_path / "0", dense(), *rows)
    # Beside it another method, so that there is a report.
    write_run(tmp_path / "1", make(label="GraSP", setting="bbbb"))

    found = pruned(load(tmp_path)).set_index("label")

    assert ("SNIP" in found.index) == (last > 1)
    if last > 1:
        assert found.loc["SNIP", "stage"] == stages[-1]
        assert found.loc["SNIP", "top1_fraction_mean"] == pytest.approx(last / 10)
        assert found.loc["SNIP", "pruned_top1_fraction_mean"] == pytest.approx(0.2)


def test_without_fine_tuning_the_recalibrated_stage_is_the_result_and_said_so(tmp_path) -> None:
    write_run(tmp_path / "0", make(stage="pruned", top1=0.3), make(stage="recalibrated", top1=0.4))
    survey = load(tmp_path)
    assert only(survey)["top1_fraction_mean"] == pytest.approx(0.4)
    assert notes(survey) == ["no fine-tuning recorded, accuracy is right after recalibration: SNIP"]


def test_runs_stopped_at_any_stage_before_the_last_are_not_averaged_in(tmp_path) -> None:
    stages = ["pruned", "recalibrated", "finetuned"]
    for seed, count in enumerate((3, 2, 1)):
        rows = [make(seed=seed, stage=stage, top1=0.9) for stage in stages[:count]]
        write_run(tmp_path / "abc"[seed], *rows)
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    assert notes(survey) == ["2 left out, not yet fine-tuned: b, c"]


def test_a_run_stopped_before_its_recalibration_is_not_averaged_in(tmp_path) -> None:
    bare = make(seed=0, stage="pruned", top1=0.3)
    write_run(tmp_path / "whole", bare, make(seed=0, stage="recalibrated", top1=0.4))
    write_run(tmp_path / "stopped", make(seed=1, stage="pruned", top1=0.3))
    survey = load(tmp_path)
    assert cell(only(survey)) == "40.00 (n=1)"
    assert survey.notes[0] == "1 left out, not yet recalibrated: stopped"


def test_a_run_stopped_at_a_compression_that_no_other_reached_is_left_out(tmp_path) -> None:
    write_run(tmp_path / "0", at(1, "finetuned", 0.9, 2.0), at(2, "pruned", 0.2, 4.0))
    survey = load(tmp_path)
    assert only(survey)["requested_compression_ratio"] == 2.0
    assert survey.notes[0] == "1 left out, not yet fine-tuned: 0"


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_level_of_a_run_that_has_not_finished_waits_for_its_last_stage(state, tmp_path) -> None:
    for name, now in (("on", state), ("done", "finished")):
        seed = int(name == "on")
        first, second = at(1, "pruned", 0.7, 2.0, seed=seed), at(2, "pruned", 0.4, 4.0, seed=seed)
        write_run(tmp_path / name, first, second)
        (tmp_path / name / "status.json").write_text(json.dumps({"state": now}))

    survey = load(tmp_path)

    # By then two seeds have 2x; where none is fine-tuned, that one run is at work tells.
    assert pruned(survey)["seeds"].tolist() == [2, 1]
    assert survey.notes[0] == "1 left out, their run has not finished that level: on"


def test_what_a_run_that_goes_on_has_fine_tuned_counts(tmp_path) -> None:
    write_run(tmp_path / "on", at(1, "finetuned", 0.9, 2.0))
    (tmp_path / "on" / "status.json").write_text('{"state": "running"}')
    assert only(load(tmp_path))["requested_compression_ratio"] == 2.0


def test_a_level_passed_without_fine_tuning_is_not_averaged_with_one_that_had_it(tmp_path) -> None:
    write_run(tmp_path / "a", at(1, "finetuned", 0.9, 2.0), at(2, "finetuned", 0.8, 4.0))
    passed = [at(1, "pruned", 0.2, 2.0, seed=1), at(2, "finetuned", 0.8, 4.0, seed=1)]
    write_run(tmp_path / "b", *passed)
    survey = load(tmp_path)
    assert pruned(survey)["seeds"].tolist() == [1, 2]
    assert survey.notes[0] == "1 left out, not yet fine-tuned: b"


def test_a_level_that_a_penalty_goes_on_from_is_a_result_without_fine_tuning(tmp_path) -> None:
    write_run(tmp_path / "a", at(1, "pruned", 0.5, 2.0), at(2, "penalised", 0.5, 4.0))
    write_run(tmp_path / "b", at(2, "finetuned", 0.9, 4.0, seed=1))
    found = pruned(load(tmp_path))
    assert found["requested_compression_ratio"].tolist() == [2.0, 4.0]


def steps(seed: int, levels: int = 4, finetuned: bool = True) -> list[Record]:
    """Returns the records of a run that prunes inside one training at 2x, 4x, 8x and 16x.

    The last level trains on to the end.
    """
    rows = [
        at(n, "pruned", 0.1 * n, 2.0**n, seed=seed, is_intermediate=n < 4)
        for n in range(1, levels + 1)
    ]
    return [*rows, at(4, "finetuned", 0.9, 16.0, seed=seed)] if finetuned else rows


def test_of_masks_that_shrink_inside_one_training_only_the_end_is_a_result(tmp_path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / str(seed), make(level=0, stage="initial"), *steps(seed))

    survey = load(tmp_path)

    row = only(survey)
    assert (row["requested_compression_ratio"], row["stage"], row["level"]) == (
        16.0,
        "finetuned",
        4,
    )
    assert cell(row) == "90.00 ± 0.00 (n=2)"
    # Right after the last removal, within the training.
    assert cell(row, "pruned_top1_fraction") == "40.00 ± 0.00 (n=2)"
    assert survey.notes[0].startswith("measured and requested compression")


@pytest.mark.parametrize("levels, said", [(2, "no result yet: b"), (4, "not yet fine-tuned: b")])
def test_a_training_stopped_while_it_prunes_is_told_and_not_averaged_in(levels, said, tmp_path):
    write_run(tmp_path / "a", *steps(0))
    write_run(tmp_path / "b", *steps(1, levels, finetuned=False))
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    assert said in survey.notes[0]


def test_masks_that_were_released_on_the_way_are_no_results_at_1x(tmp_path) -> None:
    soft = [
        at(n, stage, 0.8, 1.0 if stage == "finetuned" else 4.0, is_intermediate=True)
        for n in (1, 2)
        for stage in ("pruned", "finetuned")
    ]
    end = [at(3, "pruned", 0.7, 4.0), at(3, "finetuned", 0.9, 4.0)]
    write_run(tmp_path / "0", dense(), *soft, *end)

    row = only(load(tmp_path))

    assert (row["requested_compression_ratio"], row["level"]) == (4.0, 3)
    assert row["top1_fraction_mean"] == pytest.approx(0.9)
    assert row["pruned_top1_fraction_mean"] == pytest.approx(0.7)


def test_runs_that_are_all_on_the_way_give_no_report(tmp_path, capsys) -> None:
    write_run(tmp_path / "0", dense(), *steps(0, 2, finetuned=False))
    assert main([str(tmp_path)]) == 2
    assert (
        "its 3 records of 1 runs are of level 0 or of intermediate levels"
        in capsys.readouterr().err
    )


def test_a_stage_that_was_written_anew_counts_once(tmp_path) -> None:
    first, second = make(top1=0.8, training_flops=60), make(top1=0.9, training_flops=60)
    write_run(tmp_path / "0", first, second)
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    assert survey.records["total_training_flops"].tolist() == [60]
    assert math.isnan(only(survey)["total_examples_mean"])
