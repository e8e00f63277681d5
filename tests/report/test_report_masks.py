"""Tests what the report finds beside the records: masks, and how runs were made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from survey_records import make, write_run

from harness.report import report
from harness.report.page.run_details import details
from harness.report.read.load import load
from harness.report.read.overlap import overlaps


def masked(folder: Path, masks: dict[str, list[int]], **changes: Any) -> None:
    write_run(folder, make(**changes))
    tensors = {name: np.array(kept, bool) for name, kept in masks.items()}
    safetensors.numpy.save_file(tensors, folder / "masks.safetensors")


def test_overlap_is_intersection_over_union_of_all_tensors_together(tmp_path) -> None:
    masked(tmp_path / "a", {"x": [1, 1, 0, 0], "y": [1, 0]}, label="A", setting="a")
    masked(tmp_path / "b", {"x": [0, 1, 1, 0], "y": [1, 0]}, label="B", setting="b")

    (row,) = load(tmp_path).overlap.to_dict("records")

    # In common: x[1], y[0]; in any: x[0], x[1], x[2], y[0].
    assert (row["first"], row["second"], row["iou"], row["seeds"]) == ("A", "B", 0.5, 1)


def test_overlap_is_the_mean_over_seeds_that_both_have(tmp_path) -> None:
    for seed, kept in ((0, [1, 0]), (1, [0, 1])):
        masked(tmp_path / f"a{seed}", {"x": [1, 0]}, label="A", setting="a", seed=seed)
        masked(tmp_path / f"b{seed}", {"x": kept}, label="B", setting="b", seed=seed)
    masked(tmp_path / "a2", {"x": [1, 1]}, label="A", setting="a", seed=2)
    (row,) = load(tmp_path).overlap.to_dict("records")
    assert (row["iou"], row["seeds"]) == (0.5, 2)


def test_masks_of_other_compressions_are_not_compared(tmp_path) -> None:
    masked(tmp_path / "a", {"x": [1, 0]}, label="A", setting="a")
    masked(tmp_path / "b", {"x": [1, 0]}, label="B", setting="b", requested_compression=8.0)
    assert load(tmp_path).overlap.empty


def test_only_the_last_level_of_a_run_has_masks(tmp_path) -> None:
    for label in "AB":
        folder = tmp_path / label
        masked(folder, {"x": [1, 0]}, label=label, setting=label)
        later = make(label=label, setting=label, level=2, requested_compression=8.0)
        path = folder / "records.jsonl"
        path.write_text(path.read_text() + json.dumps(vars(later)) + "\n")
    assert load(tmp_path).overlap["requested"].tolist() == [8.0]


def test_a_damaged_mask_file_is_left_out_and_named(tmp_path) -> None:
    for label in "ABC":
        masked(tmp_path / label, {"x": [1, 0]}, label=label, setting=label)
    (tmp_path / "B" / "masks.safetensors").write_bytes(b"cut off")
    survey = load(tmp_path)
    assert survey.overlap[["first", "second"]].to_numpy().tolist() == [["A", "C"]]
    assert any(note.startswith("B/masks.safetensors cannot be read") for note in survey.notes)


def test_more_masks_than_can_be_read_in_time_are_left_out_and_told(tmp_path, monkeypatch) -> None:
    for seed in (0, 1):
        for label in "AB":
            folder = tmp_path / f"{label}{seed}"
            masked(folder, {"x": [1, seed]}, label=label, setting=label, seed=seed)
    results = load(tmp_path).results
    size = 2 * (tmp_path / "A0" / "masks.safetensors").stat().st_size
    for most, seeds in ((2 * size, 2), (2 * size - 1, 1), (size - 1, 0)):
        monkeypatch.setattr("harness.report.read.overlap.MOST_BYTES", most)
        found, notes = overlaps(tmp_path, results)
        assert found["seeds"].sum() == seeds
        assert [note[:45] for note in notes] == (
            [] if seeds == 2 else [f"the overlap of masks uses the first {seeds} of 2 seeds"[:45]]
        )


def test_records_alone_have_no_overlap_and_no_note(tmp_path) -> None:
    write_run(tmp_path / "a", make())
    survey = load(tmp_path)
    assert survey.overlap.empty and not [note for note in survey.notes if "mask" in note]
    report(tmp_path)
    assert "Overlap of masks" not in (tmp_path / "report" / "report.html").read_text()


def made(runs: Path, name: str, **hashed_config: Any) -> None:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "identity.json").write_text(json.dumps({"hashed_config": hashed_config}))
    environment = {
        "command": ["pruning-harness", "run_name=a b"],
        "commit": "0123456789ab",
        "numerics_key": {"device": "cpu x86_64", "threads": 1, "torch": "2.6", "world_size": 2},
        "packages": {"torch": "2.6.0", "wandb": None},
        "python": "3.12.1",
        "platform": "Linux",
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "config.yaml").write_text("seed: 0\n")


def test_details_name_command_versions_device_commit_and_what_differs(tmp_path) -> None:
    for seed in (0, 1):
        made(tmp_path, str(seed), seed=seed, training={"epochs": 3, "betas": [0.9, 0.99]})

    found = details(tmp_path, tmp_path / "report", ["0", "1"])

    assert found["common"] == {"training.epochs": "3", "training.betas": "[0.9, 0.99]"}
    assert found["runs"]["1"] == {
        "command": "pruning-harness 'run_name=a b'",
        "config": "../1/config.yaml",
        "environment": 0,
        "own": {"seed": "1"},
    }
    (environment,) = found["environments"]
    assert environment == {
        "commit": "0123456789ab", "device": "cpu x86_64", "ranks": "2", "threads": "1",
        "python": "3.12.1", "platform": "Linux", "torch": "2.6.0",
    }  # fmt: skip


def test_runs_made_in_other_places_have_environments_of_their_own(tmp_path) -> None:
    for name in ("0", "1", "2"):
        made(tmp_path, name)
    path = tmp_path / "1" / "environment.json"
    path.write_text(path.read_text().replace("0123456789ab", "ffffffffffff"))
    found = details(tmp_path, tmp_path, ["0", "1", "2"])
    assert [found["runs"][name]["environment"] for name in ("0", "1", "2")] == [0, 1, 0]


def test_details_that_are_missing_or_damaged_are_empty(tmp_path) -> None:
    write_run(tmp_path / "0", make())
    (tmp_path / "0" / "environment.json").write_text("{cut")
    found = details(tmp_path, tmp_path / "report", ["0"])
    assert found["runs"]["0"] == {"command": "", "config": "", "environment": 0, "own": {}}
