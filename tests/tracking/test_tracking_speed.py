"""Tests measured speed in W&B and TensorBoard: rows, table, charts and the panels of a report."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import wandb_log
from tracking_fakes import info, record, speed

from harness.cli.tracking import main
from harness.run_folder.console import Progress
from harness.run_folder.followers import RecordWriter, Sinks
from harness.tracking.base import Tracking
from harness.tracking.report import report
from harness.tracking.speed import COLUMNS, names_below
from harness.tracking.tensorboard import TensorBoard
from harness.tracking.wandb import Wandb, run_id

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")

EAGER = "speed/batch1_eager_float32_threads2"
SLOW = "0.50 of the theoretical speed-up of 4: use a larger batch"
FAILED = {"batch_size": 64, "not_measured": "out of memory"}
NO_NUMBERS = {name: None for name in speed(1) if "milliseconds" in name or "speedup" in name}
NO_NUMBERS |= {name: None for name in speed(1) if name.endswith("_bytes")}


def track(tracking: Tracking, folder: Path, levels: tuple[int, ...] = (1, 2)) -> None:
    """Follows a run through its files and the tracker, as a run does."""
    with tracking.open(info(folder)) as sink:
        sinks = Sinks(Progress("none"), RecordWriter(folder, 1), None, [sink])
        for level in levels:
            sinks.log(record(level, "finetuned"))
            sinks.log_timing(
                **speed(level, speedup=1.0 + level, why_slow=SLOW if level == 1 else None)
            )
            sinks.log_timing(**speed(level, **{**NO_NUMBERS, **FAILED}))


@pytest.fixture(name="log", scope="module")
def fixture_log(tmp_path_factory: pytest.TempPathFactory) -> wandb_log.WandbLog:
    folder = tmp_path_factory.mktemp("run")
    track(Wandb(), folder)
    (log,) = wandb_log.logs(folder)
    return log


def test_wandb_gets_a_row_for_each_measurement_with_its_conditions(log) -> None:
    rows = [row for row in log.history if f"{EAGER}/speedup" in row]
    assert [row["level"] for row in rows] == [1, 2]
    assert [row[f"{EAGER}/speedup"] for row in rows] == [2.0, 3.0]
    assert [row["density_of_weights"] for row in rows] == [0.5, 0.25]
    assert [row.get(f"{EAGER}/why_slow") for row in rows] == [SLOW, None]
    last = {name.removeprefix(f"{EAGER}/"): value for name, value in rows[-1].items()}
    assert last["measured_with"] == "cpu Fast 9000, torch 2.14.1"
    assert (last["milliseconds"], last["dense_milliseconds"]) == (2.0, 6.0)
    assert (last["peak_bytes"], last["file_bytes"], last["dense_file_bytes"]) == (300, 100, 200)
    assert log.summary[f"{EAGER}/speedup"] == 3.0
    assert log.step_metrics["speed/*"] == "density_of_weights"


def test_wandb_gets_a_table_of_all_measurements_those_that_failed_too(log) -> None:
    table = log.tables["speed"]
    assert table["columns"] == [*COLUMNS]
    rows = [dict(zip(COLUMNS, cells, strict=True)) for cells in table["data"]]
    assert [(row["level"], row["batch_size"]) for row in rows] == [(1, 1), (1, 64), (2, 1), (2, 64)]
    first, failed, *_ = rows
    assert (first["top1"], first["speedup"], first["theoretical_speedup"]) == (0.9, 2.0, 1.5)
    assert (first["device"], first["torch"], first["threads"]) == ("cpu Fast 9000", "2.14.1", 2)
    assert (failed["not_measured"], failed["speedup"]) == ("out of memory", None)
    assert (first["why_slow"], failed["why_slow"]) == (SLOW, None)


def test_wandb_draws_accuracy_against_measured_speed_up_with_its_conditions(log) -> None:
    chart = log.tables[f"{EAGER}/top1_table"]
    assert chart["columns"] == ["measured_speedup", "top1"]
    assert chart["data"] == [[2.0, 0.9], [3.0, 0.9]]
    drawn = log.config["_wandb"]["visualize"][f"{EAGER}/top1"]
    assert "cpu Fast 9000, torch 2.14.1" in json.dumps(drawn)


def test_wandb_run_that_is_started_again_sends_no_measurement_twice(tmp_path) -> None:
    with pytest.raises(KeyError), Wandb().open(info(tmp_path)) as sink:
        sinks = Sinks(Progress("none"), RecordWriter(tmp_path, 1), None, [sink])
        sinks.log(record(1, "finetuned"))
        sinks.log_timing(**speed(1))
        raise KeyError
    again = replace(info(tmp_path), earlier=(record(1, "finetuned"),))
    with Wandb().open(again) as sink:
        sink.log(record(2, "finetuned"))
        sink.latency(speed(2))

    logs = wandb_log.logs(tmp_path)
    rows = [row for log in logs for row in log.history if f"{EAGER}/speedup" in row]
    assert [row["level"] for row in rows] == [1, 2]
    # The table of the last start has the measurements of all starts.
    assert [cells[1] for cells in logs[-1].tables["speed"]["data"]] == [1, 2]


def test_a_server_gets_the_measurements_of_an_offline_run(tmp_path, stub, nobody_logged_in) -> None:
    folder = tmp_path / "survey" / "a1" / "a1"
    folder.mkdir(parents=True)
    track(Wandb(), folder)
    assert main(["sync", str(tmp_path)]) == 0
    (run,) = stub.runs.values()
    assert [row[f"{EAGER}/speedup"] for row in run.history if f"{EAGER}/speedup" in row] == [2, 3]
    assert run_id(info(folder)) in stub.runs


def test_tensorboard_draws_the_measurements_over_the_compression(tmp_path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    events = pytest.importorskip(module).EventAccumulator(str(tmp_path / "tensorboard"))
    track(TensorBoard(), tmp_path)
    read: Any = events.Reload()
    speedups = [(one.step, one.value) for one in read.Scalars(f"{EAGER}/speedup")]
    assert speedups == [(2000, 2.0), (4000, 3.0)]
    assert [one.value for one in read.Scalars(f"{EAGER}/peak_bytes")] == [300, 300]
    text = read.Tensors(f"{EAGER}/measured_with/text_summary")[0]
    assert text.tensor_proto.string_val[0].decode() == "cpu Fast 9000, torch 2.14.1"


# The package is written for an older pydantic.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_report_at_wandb_has_a_panel_for_each_set_of_conditions(tmp_path) -> None:
    if find_spec("wandb_workspaces") is None:
        pytest.skip("the package wandb-workspaces is missing")
    track(Wandb(mode="disabled"), tmp_path)
    assert names_below(tmp_path) == [EAGER]
    panels = report("mine", "me", ["survey"], names_below(tmp_path)).blocks[0].panels
    scatter = [(panel.x.name, panel.y.name) for panel in panels if hasattr(panel.x, "name")]
    assert (f"{EAGER}/speedup", "finetuned/top1") in scatter
