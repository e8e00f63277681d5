"""Processes that share stages at the same time: each is computed once, and nobody waits in vain."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from forked_ranks import results
from sharing import STEPS_PER_EPOCH, Point, folder_of, left, start, started, steps_on_ranks
from sharing_points import DEEP, KEEP, MARKS, REWIND, stages

from harness.system.locks import locked
from harness.system.processes import is_process_suspended

DEADLINE_S = 120.0


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[Point, dict[str, bytes]]:
    runs = tmp_path_factory.mktemp("alone")
    return {point: left(start(runs, point)) for point in (KEEP, DEEP, REWIND)}


def test_several_processes_at_once_compute_each_stage_once(tmp_path, alone) -> None:
    with ExitStack() as stack:
        points = (DEEP, KEEP, REWIND)
        runs = [stack.enter_context(started(tmp_path, point, MARKS)) for point in points]
        steps = sum(results(runs))

    assert {p: left(folder_of(tmp_path, p)) for p in alone} == alone
    # Three levels of keep and three of weight_rewind, an epoch each.
    assert steps == 6 * STEPS_PER_EPOCH


# In the training of a level, and how many records a run has that waits for it.
@pytest.mark.parametrize(("step", "lines"), [(10, 1), (14, 3)])
def test_sigkill_of_who_computes_frees_who_waits(tmp_path, alone, step, lines) -> None:
    with started(tmp_path, KEEP, MARKS, victim=f"{step}:SIGSTOP") as computing:
        until(lambda: is_process_suspended(computing.pid), "the run has not come to its step")
        with started(tmp_path, DEEP, MARKS) as waiting:
            wait_for(folder_of_started(tmp_path, DEEP) / "records.jsonl", lines)
            computing.send(signal.SIGKILL)
            ends = [run.ends(time.monotonic() + DEADLINE_S) for run in (computing, waiting)]
    assert ends == [-signal.SIGKILL, 0]
    start(tmp_path, KEEP, MARKS)

    assert {p: left(folder_of(tmp_path, p)) for p in (KEEP, DEEP)} == {
        p: alone[p] for p in (KEEP, DEEP)
    }


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 75), ("SIGINT", 130), ("SIGKILL", -9)])
def test_a_signal_is_heard_while_another_computes(tmp_path, alone, name, status) -> None:
    start(tmp_path, KEEP, MARKS)
    level_2 = max(stages(tmp_path), key=lambda file: file.stat().st_mtime_ns)
    level_2.unlink()
    with locked(level_2.parent), started(tmp_path, DEEP, MARKS) as run:
        wait_for(folder_of_started(tmp_path, DEEP) / "records.jsonl", lines=3)
        run.send(signal.Signals[name])
        assert run.ends(time.monotonic() + DEADLINE_S) == status

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
    def there() -> bool:
        return file.exists() and len(file.read_text().splitlines()) >= lines

    until(there, f"{file} has not come to {lines} lines")


def until(there: Callable[[], bool], else_say: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not there():
        assert time.monotonic() < deadline, else_say
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
