"""Records of this and earlier versions, and what the terminal says of a network that collapsed."""

import json
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from command import TINY, harness, only_run, records_of
from tracking_fakes import record

from harness import records
from harness.progress import Progress
from harness.records import Record
from harness.tracking.rows import row
from harness.watchers import Watchers, collapse

NEW = ("effective_density", "empty_layers", "dead_units")
COLLAPSED = replace(
    record(1, "pruned"),
    density=0.003,
    effective_density=0.001,
    empty_layers=["fc1.weight"],
    dead_units={"fc1.weight": 500, "fc2.weight": 7},
)


def written(folder: Path, line: dict[str, Any]) -> Path:
    path = folder / "records.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return path


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.append(path, COLLAPSED)
    assert records.read(path) == [COLLAPSED]
    assert COLLAPSED.version == 3


def test_a_record_of_version_2_is_read_as_not_measured(tmp_path: Path) -> None:
    line = {name: value for name, value in asdict(COLLAPSED).items() if name not in NEW}
    (found,) = records.read(written(tmp_path, line | {"version": 2}))
    old = {"effective_density": None, "empty_layers": None, "dead_units": None, "version": 2}
    assert found == replace(COLLAPSED, **old)


@pytest.mark.parametrize("version", [1, 4, "3", None, 2.0, True, [3]])
def test_another_version_is_refused_by_file_and_line(version: object, tmp_path: Path) -> None:
    path = written(tmp_path, asdict(COLLAPSED) | {"version": version})
    with pytest.raises(ValueError, match="line 1: record version .*, this harness reads 2 to 3"):
        records.read(path)


@pytest.mark.parametrize("version, missing", [(3, "dead_units"), (2, "density")])
def test_a_record_without_a_field_of_its_version_is_refused(
    version: int, missing: str, tmp_path: Path
) -> None:
    gone = {missing, *(NEW if version == 2 else ())}
    line = {name: value for name, value in asdict(COLLAPSED).items() if name not in gone}
    with pytest.raises(ValueError, match=rf"fields differ from Record: \['{missing}'\]"):
        records.read(written(tmp_path, line | {"version": version}))


def test_a_field_that_version_2_did_not_have_is_refused_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fields differ from Record: .*'dead_units'"):
        records.read(written(tmp_path, asdict(COLLAPSED) | {"version": 2}))


def test_the_warning_names_empty_layers_and_both_densities() -> None:
    who = "Global Magnitude seed 7  level 1: "
    end = "; 0.3 % of the weights are kept, 0.1 % still connect input and output"
    assert collapse(COLLAPSED) == f"{who}fc1 has no weight left{end}"
    two = replace(COLLAPSED, empty_layers=["fc1.weight", "weight"])
    assert collapse(two) == f"{who}fc1, weight have no weight left{end}"


def test_a_network_without_a_path_is_warned_of_though_no_layer_is_empty() -> None:
    cut = replace(COLLAPSED, empty_layers=[], effective_density=0.0)
    assert "level 1: no path is left; 0.3 % of the weights are kept, 0 % still" in collapse(cut)


@pytest.mark.parametrize(
    "lost",
    [
        {"empty_layers": []},  # dead units alone
        {"empty_layers": None, "effective_density": None, "dead_units": None},  # not measured
    ],
)
def test_other_networks_are_not_warned_of(lost: dict[str, Any]) -> None:
    assert collapse(replace(COLLAPSED, **lost)) == ""


def test_the_warning_comes_once_a_level_after_pruning(capsys: pytest.CaptureFixture[str]) -> None:
    watchers = Watchers([], Progress("none", StringIO()), follows_epochs=False)
    watchers.log(COLLAPSED)
    watchers.log(replace(COLLAPSED, stage="finetuned"))
    shown = capsys.readouterr()
    assert shown.err == f"warning: {collapse(COLLAPSED)}\n" and shown.out == ""


def test_trackers_get_the_numbers_where_they_were_measured() -> None:
    found = row(COLLAPSED)
    names = ("effective_density", "empty_layers", "dead_units")
    assert [found[f"pruned/{name}"] for name in names] == [0.001, 1, 507]
    old: Record = record(1, "pruned")
    assert not any(f"pruned/{name}" in row(old) for name in names)


def test_a_run_that_prunes_a_layer_away_warns_and_records_it(tmp_path: Path) -> None:
    done = harness(*TINY, "schedule.final=0.002", f"runs={tmp_path}")

    assert done.returncode == 0, done.stderr
    dense, pruned, finetuned = records_of(only_run(tmp_path))
    assert (dense.effective_density, dense.empty_layers, dense.dead_units) == (1.0, [], {})
    for level in (pruned, finetuned):
        assert level.empty_layers == [n for n, share in level.layers.items() if share == 0] != []
        assert level.effective_density == 0.0
    (line,) = [text for text in done.stderr.splitlines() if "warning" in text]
    assert line == f"warning: {collapse(pruned)}"


def test_a_run_that_leaves_weights_everywhere_does_not_warn(tmp_path: Path) -> None:
    done = harness(*TINY, "schedule.final=0.3", f"runs={tmp_path}")
    assert done.returncode == 0 and "warning" not in done.stderr
    *_, last = records_of(only_run(tmp_path))
    assert last.effective_density is not None and 0 < last.effective_density <= last.density
