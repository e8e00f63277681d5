"""Runs that share stages, cut off anywhere, on damaged stages: the same to the bit."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from cutting import Cut, cut, places
from sharing import STEPS_PER_EPOCH, Point, counting, left, marked, start
from sharing_points import DEEP, KEEP, MARKS, REWIND, stages

from harness.run_folder.checkpoints import Checkpoints
from harness.run_folder.followers import Sinks
from harness.training.loop import Loop

STEPS = 4 * STEPS_PER_EPOCH  # of dense training's two epochs, and of two levels


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[Point, dict[str, bytes]]:
    runs = tmp_path_factory.mktemp("alone")
    return {point: left(start(runs, point)) for point in (KEEP, DEEP, REWIND)}


@pytest.fixture(autouse=True)
def fixture_one_thread() -> Any:
    yield
    torch.set_num_threads(1)


def cut_off(
    runs: Path,
    point: Point,
    owner: type,
    name: str,
    call: int,
    after: bool,
    marks: Iterable[str] = MARKS,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, owner, name, call, after)
        with pytest.raises(Cut):
            start(runs, point, marks)


# Once in dense training, and then around every checkpoint of both levels.
@pytest.mark.parametrize("step", places([3, *range(8, STEPS + 1)], few=4))
def test_whoever_computes_is_cut_off_at_any_step(tmp_path, alone, step) -> None:
    cut_off(tmp_path, KEEP, Loop, "_update", step, False)

    # Another run comes first after that; then the first goes on.
    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    with counting() as steps:
        assert left(start(tmp_path, KEEP, MARKS)) == alone[KEEP]
    assert Counter(steps) == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", places(range(1, 7), few=2))
def test_whoever_loads_is_cut_off_around_any_record(tmp_path, alone, call, after) -> None:
    start(tmp_path, KEEP, MARKS)
    cut_off(tmp_path, DEEP, Sinks, "log", call, after)

    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", places(range(1, 5), few=2))
def test_whoever_loads_is_cut_off_around_any_checkpoint(tmp_path, alone, call, after) -> None:
    start(tmp_path, KEEP, MARKS)
    cut_off(tmp_path, DEEP, Checkpoints, "save", call, after)

    with counting() as steps:
        assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    assert set(steps) <= {3}


def test_a_stage_is_left_by_who_was_stopped_between_it_and_the_next(tmp_path) -> None:
    # The checkpoint of level 1's end is written, the stage is not.
    cut_off(tmp_path, KEEP, Checkpoints, "save", 7, True)
    there = len(stages(tmp_path))
    start(tmp_path, KEEP, MARKS)

    assert len(stages(tmp_path)) == there + 2


def test_what_was_loaded_is_the_runs_own_from_then_on(tmp_path, alone) -> None:
    start(tmp_path, KEEP, MARKS)
    # Before the first record of its own, after the five of both levels and of dense training.
    cut_off(tmp_path, DEEP, Sinks, "log", 6, False)
    shutil.rmtree(tmp_path / ".cache/stages")

    with counting() as steps:
        assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    assert steps == [3] * STEPS_PER_EPOCH


def test_inside_a_training_the_stage_before_it_is_not_left_any_more(tmp_path, alone) -> None:
    # In level 1's retraining; what others take from here are its masks before it.
    cut_off(tmp_path, KEEP, Loop, "_update", 12, False)
    shutil.rmtree(tmp_path / ".cache/stages")
    start(tmp_path, KEEP, MARKS)

    assert len(stages(tmp_path)) == 2
    assert left(start(tmp_path, REWIND, MARKS)) == alone[REWIND]


def test_who_loads_shows_its_epochs_and_marks_the_stage_as_used(tmp_path) -> None:
    start(tmp_path, KEEP, MARKS)
    for file in stages(tmp_path):
        os.utime(file.parent, (0, 0))
    shown = list[tuple[int, int, int]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sinks, "_show", lambda _, *given: shown.append(given[:3]))
        start(tmp_path, DEEP, MARKS)

    assert shown == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]
    used = [file.parent for file in stages(tmp_path) if file.parent.stat().st_mtime > 1]
    assert len(used) == 1


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "other code"])
def test_a_damaged_stage_is_computed_again_and_told_once(tmp_path, alone, damage, capfd) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if damage == "other code":
            patch.setattr(
                "harness.experiment.stage_cache.undigested_sources", lambda: {"gone.py": "1"}
            )
        start(tmp_path, KEEP, MARKS)
    sound = {file: file.read_bytes() for file in stages(tmp_path)}
    for file, content in sound.items():
        middle = len(content) // 2
        one_bit = content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
        new = {"cut off": content[:middle], "one bit": one_bit, "empty": b""}
        file.write_bytes(new.get(damage, content))

    assert left(start(tmp_path, DEEP, MARKS)) == alone[DEEP]
    said = [
        line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: stage ")
    ]
    assert len(said) == len(sound) == len(set(said))
    assert all("computing it again" in line for line in said)
    assert stages(tmp_path) == list(sound)
    with counting() as steps:
        start(tmp_path, (*KEEP, "rerun=always"), MARKS)
    assert steps == []


def test_a_run_that_was_on_other_numerics_takes_and_leaves_nothing(tmp_path) -> None:
    three, four = ((*KEEP, f"schedule.levels={depth}") for depth in (3, 4))
    marks = marked([three, four])
    # Level 1 on one thread, level 2 on two, and level 3 in two starts on one again.
    cut_off(tmp_path, four, Loop, "_update", 14, False, marks)
    before = stages(tmp_path)
    cut_off(tmp_path, (*four, "threads=2"), Loop, "_update", 6, False, marks)
    cut_off(tmp_path, four, Loop, "_update", 4, False, marks)
    start(tmp_path, four, marks)

    assert len(before) == 1 and stages(tmp_path) == before


def test_masks_that_grow_are_taken_over_in_the_middle_of_a_run(tmp_path) -> None:
    rigl = (
        "prune_at=init",
        "mask_updates=rigl",
        "mask_updates.update_interval=1",
        "mask_updates.stop_fraction=1.0",
    )
    keep, deep = (*KEEP, *rigl), (*DEEP, *rigl)
    marks = marked([keep, deep])
    cut_off(tmp_path, keep, Loop, "_update", STEPS_PER_EPOCH + 3, False, marks)
    start(tmp_path, deep, marks)

    with counting() as steps:
        folder = start(tmp_path, keep, marks)
    assert steps == []
    assert left(folder) == left(start(tmp_path / "alone", keep))


def test_masks_that_a_penalty_foresaw_are_taken_over(tmp_path) -> None:
    growing = ("penalty=growing_l2", "penalty.step_size=0.5")
    keep, deep = (*KEEP, *growing), (*DEEP, *growing)
    marks = marked([keep, deep])
    start(tmp_path, keep, marks)
    first, *later = sorted(stages(tmp_path), key=lambda file: file.stat().st_mtime_ns)
    for file in later:
        file.unlink()

    assert len(later) == 3
    assert left(start(tmp_path, deep, marks)) == left(start(tmp_path / "alone", deep))
