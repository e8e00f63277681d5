"""A report leaves out what is not as a finished run has written it, and names it."""

from pathlib import Path

import pytest
from survey_records import dense, make, write_run
from test_sensitivity_report import analysis

from harness.report.read.load import load
from harness.run_folder.status_file import Status


def flip(file: Path) -> None:
    content = file.read_bytes()
    digit = content.rindex(b"0.9")  # stays a record that can be read
    file.write_bytes(content[:digit] + b"0.8" + content[digit + 3 :])


@pytest.fixture(name="runs")
def fixture_runs(tmp_path) -> Path:
    for seed in (0, 1):
        folder = tmp_path / f"{seed}"
        write_run(folder, dense(seed=seed), make(seed=seed))
        (folder / "identity.json").write_text('{"hashed_config": {"rate": 0.9}}')
        Status(folder, "").set("finished")
    return tmp_path


@pytest.mark.parametrize("name", ["records.jsonl", "identity.json"])
def test_a_finished_run_with_a_flipped_file_is_left_out(runs, name) -> None:
    assert not [note for note in load(runs).notes if "damaged" in note]
    flip(runs / "1" / name)

    survey = load(runs)
    assert set(survey.records["folder"]) == {"0"}
    assert f"run left out: {runs / '1' / name} is damaged" in "; ".join(survey.notes)


def test_a_run_whose_status_cannot_be_read_is_left_out(runs) -> None:
    (runs / "1" / "status.json").write_bytes(b"")
    survey = load(runs)
    assert set(survey.records["folder"]) == {"0"}
    assert "status.json is damaged" in "; ".join(survey.notes)


def test_runs_that_are_under_way_or_were_copied_in_part_are_read(runs) -> None:
    Status(runs / "0", "").set("running")
    flip(runs / "0" / "identity.json")
    (runs / "1" / "identity.json").unlink()
    assert set(load(runs).records["folder"]) == {"0", "1"}


def test_flipped_masks_are_left_out_of_the_overlap(runs) -> None:
    (runs / "1" / "masks.safetensors").write_bytes(b"0.9")
    Status(runs / "1", "").set("finished")
    flip(runs / "1" / "masks.safetensors")
    (note,) = (note for note in load(runs).notes if "masks.safetensors" in note)
    assert "its SHA-256 is not the one in status.json" in note and "out of the overlap" in note


def test_a_flipped_analysis_is_left_out(runs) -> None:
    for seed in (0, 1):
        folder = analysis(runs / "sensitivity" / f"{seed}", seed=seed).parent
        Status(folder, "").set("finished")
    flip(folder / "sensitivity.jsonl")

    survey = load(runs)
    assert set(survey.sensitivity["seeds"]) == {1}
    assert "analysis left out: " in "; ".join(survey.notes)
