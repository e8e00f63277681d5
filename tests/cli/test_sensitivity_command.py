"""The command that draws curves: it shares the dense network of a run, and is no run itself."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command import TINY, records_of, run_main
from conftest import cases
from forked_ranks import harness_on_ranks

from harness.run_folder.curve_records import Sensitivity, read

SHORT = (*TINY, "sensitivity.grid=[0.5,0.1]", "progress=plain")


def analyse(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Returns the exit status of `pruning-harness sensitivity`, executed in this process."""
    return run_main(monkeypatch, *SHORT, *arguments, command="sensitivity")


def found(runs: Path) -> list[Sensitivity]:
    (file,) = runs.glob("single/sensitivity/*/sensitivity.jsonl")
    return read(file)


def test_the_command_shares_the_dense_network_of_a_run_and_is_no_run(tmp_path, monkeypatch, capfd):
    assert analyse(monkeypatch, f"output_dir={tmp_path}") == 0
    said = capfd.readouterr().out
    assert run_main(monkeypatch, *SHORT, f"output_dir={tmp_path}") == 0

    (dense, *_), lines = records_of(only_run_among(tmp_path)), found(tmp_path)
    assert [(line.layer, line.density) for line in lines] == [
        (f"fc{layer}.weight", density) for layer in (1, 2, 3) for density in (1.0, 0.5, 0.1)
    ]
    assert {(line.dense_top1, line.dense_loss) for line in lines} == {
        (dense.validation_top1, dense.validation_loss)
    }
    assert {(line.label, line.method) for line in lines} == {
        ("magnitude / element", "magnitude-element")
    }
    assert [(line.kept, line.units) for line in lines[:3]] == [(256, 256), (128, 256), (26, 256)]
    assert len(list(tmp_path.glob(".cache/dense/*/*"))) == 1
    assert f"{100 * lines[2].top1:.1f}" in next(row for row in said.splitlines() if "fc1" in row)


def only_run_among(runs: Path) -> Path:
    (file,) = runs.rglob("records.jsonl")
    return file.parent


@cases("when", "end", "levels")
def test_an_analysis_of_a_run_that_compacts_measures_the_same_masked_network(
    tmp_path, monkeypatch, when
) -> None:
    units = ("structure=neuron", "allocation.min_units=1", f"output_dir={tmp_path}")
    assert analyse(monkeypatch, *units, f"compact={when}") == 0
    assert {line.layer for line in found(tmp_path)} == {"fc1.weight", "fc2.weight"}
    assert analyse(monkeypatch, *units) == 0
    found(tmp_path)  # one folder: what a run compacts decides nothing here


def test_a_finished_analysis_is_skipped_whatever_else_a_run_would_do(tmp_path, monkeypatch, capfd):
    here = f"output_dir={tmp_path}"
    analyse(monkeypatch, here)
    (file,) = tmp_path.rglob("sensitivity.jsonl")
    before, content = file.stat().st_mtime_ns, file.read_bytes()
    capfd.readouterr()

    assert analyse(monkeypatch, here, "allocation=uniform", "schedule.final=0.5") == 0
    said = capfd.readouterr().out
    assert "skipped: " in said and "rerun=always redoes it" in said and "fc3.weight" in said
    assert file.stat().st_mtime_ns == before

    assert analyse(monkeypatch, here, "rerun=always") == 0
    assert "finished: " in capfd.readouterr().out
    assert file.stat().st_mtime_ns != before and file.read_bytes() == content


def test_what_decides_the_curves_names_another_analysis(tmp_path, monkeypatch) -> None:
    for other in ("seed=0", "seed=1", "saliency=random", "prune_at=init", "sensitivity.grid=[0.5]"):
        assert analyse(monkeypatch, f"output_dir={tmp_path}", other) == 0

    lines = [read(file)[0] for file in tmp_path.rglob("sensitivity.jsonl")]
    assert len({line.run for line in lines}) == 5
    assert sorted(line.label for line in lines) == [
        *["magnitude / element"] * 3, "magnitude / element / at init", "random / element",
    ]  # fmt: skip


def test_a_target_out_of_reach_does_not_stop_an_analysis(tmp_path, monkeypatch) -> None:
    out_of_reach = ("structure=neuron", "schedule.final=0.001", f"output_dir={tmp_path}")
    assert run_main(monkeypatch, *SHORT, *out_of_reach) == 2
    assert analyse(monkeypatch, *out_of_reach) == 0
    assert {line.layer for line in found(tmp_path)} == {"fc1.weight", "fc2.weight"}


@cases(
    "wrong, said",
    ("sensitivity.grid=[50]", "sensitivity.grid must be a list of numbers in (0, 1], got [50]"),
    ("sensitivity.gird=[0.5]", "did you mean sensitivity.grid"),
    ("saliency=gradient calibration.samples=9999", "only 512 training samples"),
)
def test_wrong_input_is_one_line_and_writes_nothing(wrong, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert analyse(monkeypatch, *wrong.split()) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert said in line
    assert list(tmp_path.rglob("*")) == []


def test_two_ranks_measure_the_curves_of_one_and_write_once(tmp_path) -> None:
    for count in (1, 2):
        asked = (*SHORT, "dtype=float64", "data.validation=129", f"output_dir={tmp_path}/{count}")
        done = harness_on_ranks(count, *asked, command="sensitivity")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("fc1.weight") == done.stdout.count("finished: ") == 1

    one, two = found(tmp_path / "1"), found(tmp_path / "2")
    for mine, theirs in zip(one, two, strict=True):
        assert replace(mine, loss=0, dense_loss=0) == replace(theirs, loss=0, dense_loss=0)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-9)
    assert json.loads(json.dumps(vars(one[0])))["schema"] == 1
