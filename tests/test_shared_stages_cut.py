"""Runs that share stages, several at once, killed, stopped and damaged: the same to the bit."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from sharing import (
    SMALL,
    STEPS_PER_EPOCH,
    Point,
    command,
    counting,
    folder_of,
    left,
    marked,
    start,
)
from test_resume import Cut, cut

from harness.checkpoints import Checkpoints
from harness.files import locked
from harness.training.loop import Loop
from harness.watchers import Watchers

KEEP: Point = (*SMALL, "schedule=constant", "schedule.levels=2", "checkpoint.every_steps=2")
DEEP: Point = (*KEEP, "schedule.levels=3")
REWIND: Point = (*DEEP, "finetune=weight_rewind", "keep_epochs=[1]")
MARKS = marked([KEEP, DEEP, REWIND])
STEPS = 4 * STEPS_PER_EPOCH  # of dense training's two epochs, and of two levels
DEADLINE_S = 120.0


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[Point, dict[str, bytes]]:
    runs = tmp_path_factory.mktemp("alone")
    return {point: left(start(runs, point)) for point in (KEEP, DEEP, REWIND)}


@pytest.fixture(autouse=True)
def fixture_one_thread() -> Any:
    yield
    torch.set_num_threads(1)


def stages(runs: Path) -> list[Path]:
    return sorted(runs.glob(".stages/??/*/state.stage"))


def cut_off(runs: Path, point: Point, owner: type, name: str, call: int, after: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, owner, name, call, after)
        with pytest.raises(Cut):
            start(runs, point, MARKS)


# Once in dense training, and then around every checkpoint of both levels.
@pytest.mark.parametrize("step", [3, *range(8, STEPS + 1)])
def test_whoever_computes_is_cut_off_at_any_step(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]], step: int
) -> None:
    cut_off(tmp_path, KEEP, Loop, "_update", step, False)

    # Another run comes first after that; then the first goes on.
    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    with counting() as steps:
        assert left(start(tmp_path, KEEP, MARKS)) == alone[KEEP]
    assert Counter(steps) == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 7))
def test_whoever_loads_is_cut_off_around_any_record(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]], call: int, after: bool
) -> None:
    start(tmp_path, KEEP, MARKS)
    cut_off(tmp_path, DEEP, Watchers, "log", call, after)

    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 5))
def test_whoever_loads_is_cut_off_around_any_checkpoint(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]], call: int, after: bool
) -> None:
    start(tmp_path, KEEP, MARKS)
    cut_off(tmp_path, DEEP, Checkpoints, "save", call, after)

    with counting() as steps:
        assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    assert set(steps) <= {3}


def test_a_stage_is_left_by_who_was_stopped_between_it_and_the_next(tmp_path: Path) -> None:
    # The checkpoint of level 1's end is written, the stage is not.
    cut_off(tmp_path, KEEP, Checkpoints, "save", 7, True)
    there = len(stages(tmp_path))
    start(tmp_path, KEEP, MARKS)

    assert len(stages(tmp_path)) == there + 2


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty"])
def test_a_damaged_stage_is_computed_again_and_told_once(
    tmp_path: Path,
    alone: dict[Point, dict[str, bytes]],
    damage: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    start(tmp_path, KEEP, MARKS)
    sound = {file: file.read_bytes() for file in stages(tmp_path)}
    for file, content in sound.items():
        middle = len(content) // 2
        one_bit = content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
        new = {"cut off": content[:middle], "one bit": one_bit, "empty": b""}
        file.write_bytes(new[damage])

    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("stage ")]
    assert len(said) == len(sound) == len(set(said))
    assert all("computing it again" in line for line in said)
    assert stages(tmp_path) == list(sound)
    with counting() as steps:
        start(tmp_path, (*KEEP, "rerun=always"), MARKS)
    assert steps == []


def test_a_run_on_other_numerics_takes_and_leaves_nothing(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]]
) -> None:
    # Level 1 is computed on one thread, the rest on two, and then on one again.
    cut_off(tmp_path, DEEP, Loop, "_update", 14, False)
    cut_threads = (*DEEP, "threads=2")
    cut_off(tmp_path, cut_threads, Loop, "_update", 5, False)
    before = stages(tmp_path)
    start(tmp_path, DEEP, MARKS)

    assert stages(tmp_path) == before
    assert left(start(tmp_path, KEEP, MARKS)) == alone[KEEP]


def test_several_processes_at_once_compute_each_stage_once(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]]
) -> None:
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
def test_sigkill_of_who_computes_frees_who_waits(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]], step: int
) -> None:
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
def test_a_signal_is_heard_while_another_computes(
    tmp_path: Path, alone: dict[Point, dict[str, bytes]], name: str, status: int
) -> None:
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


def test_two_ranks_load_and_leave_stages(tmp_path: Path) -> None:
    # What each computes: all three levels alone, two for others, and the one that is left.
    for runs, point, levels in (("alone", DEEP, 3), ("both", KEEP, 2), ("both", DEEP, 1)):
        marks = MARKS if runs == "both" else ()
        run = command(tmp_path / runs, point, marks, ranks=2)
        out, err = run.communicate(timeout=DEADLINE_S)
        assert run.returncode == 0, err
        assert out.split() == ["steps", str(levels * STEPS_PER_EPOCH)] * 2

    alone, loaded = (folder_of(tmp_path / runs, DEEP) for runs in ("alone", "both"))
    assert left(loaded) == left(alone)
    numerics = json.loads((loaded / "environment.json").read_text())["numerics_key"]
    assert numerics["world_size"] == 2
