"""Processes that share stages at the same time: each is computed once, and nobody waits in vain."""

import json
import signal
import time
from pathlib import Path

import pytest
from sharing import STEPS_PER_EPOCH, Point, command, folder_of, left, start, steps_on_ranks
from sharing_points import DEEP, KEEP, MARKS, REWIND, stages

from harness.system.locks import locked

DEADLINE_S = 120.0


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[Point, dict[str, bytes]]:
    runs = tmp_path_factory.mktemp("alone")
    return {point: left(start(runs, point)) for point in (KEEP, DEEP, REWIND)}


def test_several_processes_at_once_compute_each_stage_once(tmp_path, alone) -> None:
    runs = [command(tmp_path, point, MARKS) for point in (DEEP, KEEP, REWIND)]
    steps = 0
    for run in runs:
        out, err = run.communicate(timeout=DEADLINE_S)
        assert run.returncode == 0, err
        steps += int(out.split()[-1])

    assert {p: left(folder_of(tmp_path, p)) for p in alone} == alone
    # Three levels of keep and three of weight_rewind, an epoch each.
    assert steps == 6 * STEPS_PER_EPOCH


@pytest.mark.parametrize("step", [10, 14])
def test_sigkill_of_who_computes_frees_who_waits(tmp_path, alone, step) -> None:
    killed = command(tmp_path, KEEP, MARKS, victim=f"{step}:SIGKILL")
    waiting = command(tmp_path, DEEP, MARKS)
    for run in (killed, waiting):
        run.communicate(timeout=DEADLINE_S)
    assert waiting.returncode == 0
    start(tmp_path, KEEP, MARKS)

    assert {p: left(folder_of(tmp_path, p)) for p in (KEEP, DEEP)} == {
        p: alone[p] for p in (KEEP, DEEP)
    }


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 75), ("SIGINT", 130), ("SIGKILL", -9)])
def test_a_signal_is_heard_while_another_computes(tmp_path, alone, name, status) -> None:
    start(tmp_path, KEEP, MARKS)
    level_2 = max(stages(tmp_path), key=lambda file: file.stat().st_mtime_ns)
    level_2.unlink()
    with locked(level_2.parent):
        run = command(tmp_path, DEEP, MARKS)
        wait_for(folder_of_started(tmp_path, DEEP) / "records.jsonl", lines=3)
        run.send_signal(signal.Signals[name])
        run.communicate(timeout=DEADLINE_S)
    assert run.returncode == status

    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]


def folder_of_started(runs: Path, point: Point) -> Path:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            return folder_of(runs, point)
        except ValueError:
            time.sleep(0.05)
    raise TimeoutError(f"{point} was not started")


def wait_for(file: Path, lines: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not file.exists() or len(file.read_text().splitlines()) < lines:
        assert time.monotonic() < deadline, f"{file} has not come to {lines} lines"
        time.sleep(0.05)


def test_two_ranks_load_and_leave_stages(tmp_path) -> None:
    # What each computes: all three levels alone, two for others, and the one that is left.
    for runs, point, levels in (("alone", DEEP, 3), ("both", KEEP, 2), ("both", DEEP, 1)):
        marks = MARKS if runs == "both" else ()
        steps = steps_on_ranks(2, tmp_path / runs, point, marks)
        assert steps == [levels * STEPS_PER_EPOCH] * 2

    alone, loaded = (folder_of(tmp_path / runs, DEEP) for runs in ("alone", "both"))
    assert left(loaded) == left(alone)
    numerics = json.loads((loaded / "environment.json").read_text())["numerics_key"]
    assert numerics["world_size"] == 2
