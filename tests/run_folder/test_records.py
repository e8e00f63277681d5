"""Records as they are written and read, and what the terminal says of a network that collapsed."""

import json
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from command import TINY, harness, only_run, records_of
from conftest import cases
from tracking_fakes import record

from harness import __version__
from harness.run_folder import records
from harness.run_folder.console import Progress
from harness.run_folder.followers import RecordWriter, Sinks, collapse
from harness.run_folder.records import Record
from harness.tracking.rows import row

MEASURED = {"effective_density": None, "empty_layers": None, "dead_units": None}
TRAINED = {
    "examples": None, "training_flops": None, "training_flops_dense": None,
    "optimizer_state": None, "gradient_norm": None, "is_intermediate": False,
    "density_of_masks": None,
    "requested_counts": "parameters",
}  # fmt: skip
COLLAPSED = replace(
    record(1, "pruned"), density=0.003, density_of_weights=0.003, effective_density=0.001,
    empty_layers=["fc1.weight"], dead_units={"fc1.weight": 500, "fc2.weight": 7}, examples=4000,
    training_flops=3_000_000, training_flops_dense=9_000_000, optimizer_state="kept",
    gradient_norm=0.5, is_intermediate=True, density_of_masks=0.004, requested_counts="macs",
    epoch_losses=[1.5, 0.25], epoch_validation=[0.5, 0.875],
)  # fmt: skip


def written(folder: Path, line: dict[str, Any]) -> Path:
    path = folder / "records.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return path


def test_a_record_is_read_as_it_was_written(tmp_path) -> None:
    path = tmp_path / "records.jsonl"
    records.append(path, COLLAPSED)
    assert records.read(path) == [COLLAPSED]
    assert COLLAPSED.schema == records.SCHEMA == 1


@cases("schema", 0, -1, "1", None, 1.0, True, [1])
def test_what_is_no_schema_that_is_read_is_refused_by_file_and_line(schema, tmp_path) -> None:
    path = written(tmp_path, asdict(COLLAPSED) | {"schema": schema})
    with pytest.raises(ValueError, match=r"line 1: schema=.*, but .* reads schema=1; redo the run"):
        records.read(path)


def test_a_newer_schema_is_refused_by_file_line_and_both_numbers(tmp_path) -> None:
    path = written(tmp_path, asdict(COLLAPSED) | {"schema": 2})
    newer = rf"line 1: schema=2 is newer than schema=1, which pruning-harness {__version__} reads"
    with pytest.raises(ValueError, match=newer):
        records.read(path)


@cases("missing", "epoch_validation", "density")
def test_a_record_without_a_field_is_refused(missing, tmp_path) -> None:
    line = asdict(COLLAPSED)
    del line[missing]
    with pytest.raises(ValueError, match=rf"fields differ from Record: \['{missing}'\]"):
        records.read(written(tmp_path, line))


def test_the_warning_names_empty_layers_and_both_densities() -> None:
    who = "Global Magnitude seed 7  level 1: "
    end = "; 0.3 % of the weights are kept, 0.1 % still connect input and output"
    assert collapse(COLLAPSED) == f"{who}fc1 has no weight left{end}"
    two = replace(COLLAPSED, empty_layers=["fc1.weight", "weight"])
    assert collapse(two) == f"{who}fc1, weight have no weight left{end}"


def test_a_network_without_a_path_is_warned_of_though_no_layer_is_empty() -> None:
    cut = replace(COLLAPSED, empty_layers=[], effective_density=0.0)
    assert "level 1: no path is left; 0.3 % of the weights are kept, 0 % still" in collapse(cut)


@cases(
    "lost",
    {"empty_layers": []},  # dead units alone
    MEASURED,
)
def test_other_networks_are_not_warned_of(lost) -> None:
    assert collapse(replace(COLLAPSED, **lost)) == ""


def test_the_warning_comes_once_a_level_after_pruning(capsys) -> None:
    sinks = Sinks(Progress("none", StringIO()))
    sinks.log(replace(COLLAPSED, is_intermediate=False))
    sinks.log(replace(COLLAPSED, is_intermediate=False, stage="finetuned"))
    # Inside one training the last pruning speaks for all.
    sinks.log(COLLAPSED)
    shown = capsys.readouterr()
    assert shown.err == f"warning: {collapse(COLLAPSED)}\n" and shown.out == ""


def test_each_note_is_a_line_of_timings_and_half_a_line_before_it_is_dropped(tmp_path) -> None:
    files = RecordWriter(tmp_path, world_size=2)
    files.log_timing(event="resumed")
    with (tmp_path / "timings.jsonl").open("a") as timings:
        timings.write('{"level": 2, "sta')
    files.log_timing(level=2)
    lines = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert [(line.get("event"), line.get("level"), line["world_size"]) for line in lines] == [
        ("resumed", None, 2),
        (None, 2, 2),
    ]


def test_a_record_is_a_result_unless_it_says_otherwise() -> None:
    assert not record(1, "pruned").is_intermediate


def test_trackers_get_the_numbers_where_they_were_measured() -> None:
    found = row(COLLAPSED)
    assert [found[f"pruned/{name}"] for name in MEASURED] == [0.001, 1, 507]
    costs = ("examples", "training_flops", "training_flops_dense", "gradient_norm")
    assert [found[f"pruned/{name}"] for name in costs] == [4000, 3_000_000, 9_000_000, 0.5]
    old: Record = replace(record(1, "pruned"), **MEASURED, **TRAINED)
    assert not any(f"pruned/{name}" in row(old) for name in (*MEASURED, *TRAINED))
    assert None not in row(old).values()


def test_trackers_get_no_gradient_norm_of_a_stage_without_training() -> None:
    assert "pruned/gradient_norm" not in row(replace(COLLAPSED, gradient_norm=None))
    assert row(replace(COLLAPSED, examples=0))["pruned/examples"] == 0


def test_a_run_that_prunes_a_layer_away_warns_and_records_it(tmp_path) -> None:
    done = harness(*TINY, "schedule.final=0.002", f"output_dir={tmp_path}")

    assert done.returncode == 0, done.stderr
    dense, pruned, finetuned = records_of(only_run(tmp_path))
    assert (dense.effective_density, dense.empty_layers, dense.dead_units) == (1.0, [], {})
    for level in (pruned, finetuned):
        assert level.empty_layers == [n for n, share in level.layers.items() if share == 0] != []
        assert level.effective_density == 0.0
    (line,) = [text for text in done.stderr.splitlines() if "warning" in text]
    assert line == f"warning: {collapse(pruned)}"


def test_a_run_that_leaves_weights_everywhere_does_not_warn(tmp_path) -> None:
    done = harness(*TINY, "schedule.final=0.3", f"output_dir={tmp_path}")
    assert done.returncode == 0 and "warning" not in done.stderr
    *_, last = records_of(only_run(tmp_path))
    assert (
        last.effective_density is not None and 0 < last.effective_density <= last.density_of_weights
    )
