"""Sweeps on one machine: every point runs, failures are listed, a second start skips."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ONE_WORKER, TINY, environment, harness, records_of, run_folders
from hydra.core.override_parser.overrides_parser import OverridesParser

from harness.launch.sweeps.grid import shape
from harness.launch.sweeps.planned_run import PlannedRun
from harness.launch.sweeps.sweep import summary
from harness.run_folder.outcome import Outcome
from harness.run_folder.status_file import Status

GRID = ("-m", *TINY, "schedule.unit=compression", "schedule.final=2,4", "sweep_name=grid")


def test_a_sweep_runs_every_point_and_a_second_start_skips_them(tmp_path) -> None:
    first = harness(*GRID, "seed=0,1", ONE_WORKER, f"output_dir={tmp_path}")
    before = {f: (f / "records.jsonl").stat().st_mtime_ns for f in run_folders(tmp_path, "grid")}
    second = harness(*GRID, "seed=0,1,2", ONE_WORKER, f"output_dir={tmp_path}")

    assert first.returncode == second.returncode == 0, first.stderr
    assert "sweep: 4 runs: 4 finished, 0 skipped, 0 failed" in first.stdout
    assert "sweep: 6 runs: 2 finished, 4 skipped, 0 failed" in second.stdout
    assert len(before) == 4
    assert all((f / "records.jsonl").stat().st_mtime_ns == at for f, at in before.items())


def test_methods_of_a_sweep_start_from_the_same_dense_weights_trained_once(tmp_path) -> None:
    done = harness(
        *GRID, "method=random,global_magnitude", f"output_dir={tmp_path}", "hydra.launcher.n_jobs=2"
    )

    dense = {records_of(folder)[0].loss for folder in run_folders(tmp_path, "grid")}
    assert done.returncode == 0, done.stderr
    assert len(run_folders(tmp_path, "grid")) == 4
    assert len(dense) == 1
    assert len(list((tmp_path / ".cache/dense").glob("*/*/*.safetensors"))) == 1


def test_one_failing_point_does_not_stop_the_others_and_is_listed_with_its_reason(tmp_path) -> None:
    samples = "calibration.samples=64,9999"
    done = harness(*GRID, "saliency=gradient", samples, ONE_WORKER, f"output_dir={tmp_path}")

    assert done.returncode == 1
    assert "sweep: 4 runs: 2 finished, 0 skipped, 2 failed" in done.stdout
    failed = re.search(
        r"failed: schedule.final=4 calibration.samples=9999: calibration.samples=9999, but .*"
        r"\(see (.*)\)",
        done.stdout,
    )
    assert failed and "calibration.samples=9999, but" in Path(failed[1]).read_text()
    states = [Status(folder, "").read()["state"] for folder in run_folders(tmp_path, "grid")]
    assert sorted(states) == ["failed", "failed", "finished", "finished"]


def test_a_misspelt_value_in_a_grid_is_told_before_any_run(tmp_path) -> None:
    done = harness(*GRID, "method=random,globl_magnitude", ONE_WORKER, f"output_dir={tmp_path}")

    assert done.returncode == 2
    assert "harness: method=globl_magnitude: there is no such method; did you mean" in done.stderr
    assert run_folders(tmp_path, "grid") == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_stops_a_sweep_and_the_same_command_goes_on(tmp_path, number, status) -> None:
    points = [*GRID, "seed=0,1,2,3,4,5", f"output_dir={tmp_path}", "training.epochs=40"]
    command = [sys.executable, "-m", "harness", *points]
    sweep = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("grid/*/*/records.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(sweep.pid, number)  # as a terminal does
    else:
        sweep.send_signal(number)  # as `kill` does: workers must not be left behind
    # Ends when the last process that holds the pipes has ended.
    _, said = sweep.communicate(timeout=60)

    done = harness(*points, ONE_WORKER)

    assert sweep.returncode == status
    assert f"{number.name}; the same command resumes" in said
    assert done.returncode == 0, done.stderr
    assert re.search(r"sweep: 12 runs: \d+ finished, \d+ skipped, 0 failed", done.stdout)
    assert all(len(records_of(folder)) == 3 for folder in run_folders(tmp_path, "grid"))


def test_the_summary_names_runs_of_another_commit() -> None:
    point = PlannedRun("f", "", "seed=0", "", 0, 1, kind="", shared={}, files=[], line="")

    lines = summary([(point, Outcome("skipped", "f", "finished before, by commit abc"))])

    assert lines[0] == "sweep: 1 runs: 0 finished, 1 skipped, 0 failed"
    assert lines[1] == "  f: finished before, by commit abc; rerun=changed redoes it"


def test_a_grid_is_composed_once_for_every_combination_of_group_choices() -> None:
    parser = OverridesParser.create()
    points = [
        parser.parse_overrides([f"method={m}", f"seed={s}"])
        for m in ("random", "snip")
        for s in (0, 1, 2)
    ]

    shapes = [shape(point, lambda key: key == "method") for point in points]
    assert set(shapes) == {("method=random", "seed"), ("method=snip", "seed")}


def test_a_misspelt_key_in_a_grid_is_told_before_any_run(tmp_path) -> None:
    done = harness(*GRID, "sed=0,1", ONE_WORKER, f"output_dir={tmp_path}")

    assert done.returncode == 2
    assert "sed: there is no such key; did you mean seed" in done.stderr
    assert run_folders(tmp_path, "grid") == []
