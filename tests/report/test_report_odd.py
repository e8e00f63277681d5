"""Odd but legal input: what failed throughout, what is damaged beside the records."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
import safetensors.numpy
from conftest import cases
from survey_records import dense, make, write_run

from harness.report import report
from harness.report.figures.lines import measured
from harness.report.page.chart_rows import rows
from harness.report.protocol.lint import check
from harness.report.read.load import load

NAN = {"top1": math.nan, "top5": math.nan, "loss": math.nan}


def test_a_survey_in_which_all_has_failed_is_reported_and_checked(tmp_path) -> None:
    for seed in range(2):
        nothing = {**NAN, "seed": seed, "validation_loss": None}
        write_run(tmp_path / str(seed), dense(**nothing), make(**nothing))
    assert report(tmp_path)
    rules = check(load(tmp_path)).set_index("item")
    assert str(rules.loc["same dense weights", "details"]).endswith("(2 in all)")


DAMAGED = {
    "environment.json": b'{"numerics_key": null, "packages": null, "hardware": 1, "command": 2}',
    "identity.json": b'{"hashed_config": null}',
    "timings.jsonl": b'{"event": "latency", "level": 1} \xff\n',
    "masks.safetensors": safetensors.numpy.save({}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_beside_the_records_keeps_no_report_from_being_made(name, tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make())
    (tmp_path / "0" / name).write_bytes(DAMAGED[name])
    assert report(tmp_path)


def test_a_report_that_is_stopped_leaves_the_old_one_as_it_was(tmp_path, monkeypatch) -> None:
    write_run(tmp_path / "0", dense(), make())
    report(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    write_run(tmp_path / "1", dense(seed=1), make(seed=1))
    monkeypatch.setattr("harness.report.write.write_page", stop)
    with pytest.raises(KeyboardInterrupt):
        report(tmp_path)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()}


def test_a_dense_network_that_failed_is_nothing_to_compare_with(tmp_path) -> None:
    write_run(tmp_path / "0", dense(top1=0.1, loss=math.nan), make(top1=0.9))
    (row,) = load(tmp_path).results.query("level > 0").to_dict("records")
    assert math.isnan(row["dense_top1"]) and math.isnan(row["change"])


def test_what_cost_no_training_is_drawn_at_0_beside_what_did(tmp_path) -> None:
    free = {"examples": 0, "training_flops": 0, "training_flops_dense": 0}
    write_run(tmp_path / "0", make(**free))
    (section,) = load(tmp_path).sections()
    assert [axis.name for axis in measured(section.pruned)] == ["compression", "speedup"]
    write_run(tmp_path / "1", make(**{**free, "training_flops": 9}, label="B", setting="b"))
    (section,) = load(tmp_path).sections()
    assert [row["cost"] for row in rows(section, pd.DataFrame())["points"]] == [9, 0]


@cases(
    "field, value",
    ("level", "1"), ("seed", None), ("top1", "high"), ("is_intermediate", 1), ("layers", []),
    ("layers", {"fc.weight": "1"}), ("epoch_losses", ["high"]), ("empty_layers", [1]),
)  # fmt: skip
def test_a_record_of_another_type_is_named_and_left_out(field, value, tmp_path) -> None:
    write_run(tmp_path / "good", make(seed=1))
    path = write_run(tmp_path / "odd", make())
    path.write_text(json.dumps({**vars(make()), field: value}) + "\n")
    survey = load(tmp_path)
    assert survey.results["folder"].tolist() == ["good"]
    (note,) = [note for note in survey.notes if "must not be" in note]
    assert f"line 1: {field} must not be {value!r}" in note


@cases("field, value", ("top1", 97.3), ("density", -0.1), ("top5", 5.0))
def test_a_record_with_a_share_beyond_0_and_1_is_named_and_left_out(field, value, tmp_path) -> None:
    write_run(tmp_path / "good", make(seed=1, top1=1, density=0, top5=math.nan))
    write_run(tmp_path / "odd", make(**{field: value}))
    survey = load(tmp_path)
    assert survey.results["folder"].tolist() == ["good"]
    (note,) = [note for note in survey.notes if "left out" in note]
    assert f"line 1: {field} must be a fraction in [0, 1], got {value}; delete the line" in note


def test_files_of_an_earlier_report_go_and_those_of_others_stay(tmp_path) -> None:
    out = tmp_path / "report"
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", dense(seed=seed), make(seed=seed))
        other = {"seed": seed, "label": "Random", "setting": "b", "model": "vgg"}
        write_run(tmp_path / f"b{seed}", dense(**other), make(**other))
    first = {path.name for path in report(tmp_path, against="SNIP")}
    assert {"paired.csv", "accuracy-vgg-digits.tex"} <= first
    (out / "notes.txt").write_text("of the user")
    shutil.rmtree(tmp_path / "b0")
    shutil.rmtree(tmp_path / "b1")

    second = {path.name for path in report(tmp_path)}
    assert second < first
    assert {path.name for path in out.iterdir()} == {*second, "notes.txt", ".files"}
    (out / ".files").unlink()
    assert {path.name for path in report(tmp_path)} == second


def test_what_stops_a_report_on_its_way_into_place_forgets_no_file(tmp_path, monkeypatch) -> None:
    write_run(tmp_path / "0", dense(), make())
    first, replace = {path.name for path in report(tmp_path)}, Path.replace

    def stopped_at_the_page(path: Path, target: Path) -> Path:
        if path.name == "report.html":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", stopped_at_the_page)
        report(tmp_path, against="SNIP")
    assert (tmp_path / "report" / "paired.csv").exists()
    report(tmp_path)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {*first, ".files"}


def test_a_list_of_an_earlier_report_can_name_no_file_of_others(tmp_path) -> None:
    out = tmp_path / "runs" / "report"
    write_run(tmp_path / "runs" / "0", dense(), make())
    out.mkdir()
    theirs = [tmp_path / "secret.txt", out / "notes.txt", out / "table.csv", out / "link.csv"]
    for file in theirs[:3]:
        file.write_text("of the user")
    theirs[3].symlink_to(theirs[0])
    sha = hashlib.sha256(b"of the user").hexdigest()
    names = ["../../secret.txt", str(theirs[0]), "..", ".", "", "../report/notes.txt"]
    lines = [*(f"{sha} {name}" for name in [*names, "link.csv"]), "notes.txt", "0 table.csv"]
    (out / ".files").write_text("\n".join(lines))

    report(tmp_path / "runs")
    assert [file.read_text() for file in theirs] == ["of the user"] * 4


def test_a_list_that_is_a_link_is_replaced_not_followed(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make())
    (tmp_path / "report").mkdir()
    (tmp_path / "mine").write_text("of the user")
    (tmp_path / "report" / ".files").symlink_to(tmp_path / "mine")
    report(tmp_path)
    assert (tmp_path / "mine").read_text() == "of the user"


def test_change_against_dense_over_fewer_seeds_than_top1_is_told(tmp_path) -> None:
    for seed, loss in enumerate([0.1, math.nan, 0.1]):
        write_run(tmp_path / str(seed), dense(seed=seed, loss=loss), make(seed=seed))
    survey = load(tmp_path)
    row = survey.summary.query("level > 0").iloc[0]
    assert (row["seeds"], row["change_seeds"]) == (3, 2)
    (note,) = [note for note in survey.notes if "change_seeds" in note]
    assert "over fewer seeds than top-1 in 1 of 1 results" in note


def test_no_dense_network_at_all_is_no_matter_of_fewer_seeds(tmp_path) -> None:
    write_run(tmp_path / "0", make())
    assert not [note for note in load(tmp_path).notes if "change_seeds" in note]


def test_models_whose_names_differ_in_marks_alone_have_files_of_their_own(tmp_path) -> None:
    for model in ("a b", "a_b"):
        write_run(tmp_path / model, dense(model=model), make(model=model))
    paths = report(tmp_path)
    assert len(set(paths)) == len(paths)
    assert {"accuracy-a_b-digits.tex", "accuracy-a_b-digits-2.tex"} <= {p.name for p in paths}


def test_a_survey_whose_sizes_are_all_unknown_is_reported(tmp_path) -> None:
    unknown = {"compression": None, "speedup": None, "density": None, "density_of_weights": None}
    for seed in range(2):
        write_run(tmp_path / str(seed), dense(seed=seed, **unknown), make(seed=seed, **unknown))
    assert report(tmp_path)
