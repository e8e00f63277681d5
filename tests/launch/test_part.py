"""A part of a plan: which points, in which order, and what others have in hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import cases
from left_locks import GONE, lock_left_by

from harness.launch.run_spec import RunSpec
from harness.launch.sweeps import array_task
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.outcome import RESULTS, Outcome
from harness.run_folder.overview import HOME
from harness.run_folder.status_file import Status
from harness.system.locks import locked

Attempt = Callable[[Path], Outcome]


def _line(name: str) -> str:
    return RunSpec({"run_name": name, "rerun": "never"}, {}, "", "", data_sha256="da7a").to_json()


def plan_of(folder: Path, names: str) -> Path:
    """Returns a plan with a point for each letter; the first half shares a dense training."""
    points = [
        PlannedRun(
            str(folder / name), "", name, "ab"[2 * i >= len(names)], 1, 1, kind="", shared={},
            files=[], line=_line(name),
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    home = folder / HOME
    home.mkdir()
    plan = Plan(home / "plan.jsonl", "", folder, [], points)
    plan.write()
    return plan.file


@pytest.fixture(name="tried")
def fixture_tried(monkeypatch) -> list[str]:
    """Returns a list that collects "COMMAND NAME" of the attempted points; all finish."""
    tried: list[str] = []

    def attempt(line: str) -> Outcome:
        point = RunSpec.from_json(line)
        tried.append(f"{point.command} {point.config['run_name']}")
        return Outcome("finished", "")

    monkeypatch.setattr(array_task, "try_execute_line", attempt)
    return tried


@cases("asked, names", ("0/1", "abcdef"), ("0/4", "ae"), ("1/4", "bf"), ("3/4", "d"), ("7/8", ""))
def test_parts_take_points_in_turn(tmp_path, tried, asked, names) -> None:
    assert array_task.run_array_task(plan_of(tmp_path, "abcdef"), asked) == 0
    assert tried == [f"run {name}" for name in names]


def test_dense_trains_once_for_all_that_share_it(tmp_path, tried) -> None:
    assert array_task.run_array_task(plan_of(tmp_path, "abcdef"), "0/1", dense=True) == 0
    assert sorted(tried) == ["dense a", "dense d"]


def test_a_part_with_a_failed_point_goes_on_and_ends_with_1(tmp_path, monkeypatch, capsys) -> None:
    outcomes = iter([Outcome("failed", "", "too hot"), Outcome("finished", "")])
    monkeypatch.setattr(array_task, "try_execute_line", lambda line: next(outcomes))

    assert array_task.run_array_task(plan_of(tmp_path, "ab"), "0/1") == 1
    said = capsys.readouterr().out
    assert "failed in 0.0 s: a: too hot\n" in said and "finished in 0.0 s: b\n" in said
    assert "sweep: 2 runs: 1 finished, 0 skipped, 1 failed\n  failed: a: too hot\n" in said


def test_a_point_at_which_another_process_works_comes_last_and_is_waited_for(
    tmp_path, tried, monkeypatch
) -> None:
    plan = plan_of(tmp_path, "abc")
    (tmp_path / "a").mkdir()
    other = locked(tmp_path / "a")
    other.__enter__()
    waits: list[list[str]] = []

    def wait(seconds: float) -> None:
        waits.append(list(tried))
        other.__exit__(None, None, None)

    monkeypatch.setattr(array_task.time, "sleep", wait)
    assert array_task.run_array_task(plan, "0/1") == 0
    assert waits == [["run b", "run c"]]
    assert tried == ["run b", "run c", "run a"]


def test_a_lock_that_a_dead_process_left_behind_holds_nobody_up(tmp_path, tried) -> None:
    plan = plan_of(tmp_path, "ab")
    lock_left_by(GONE, tmp_path / "a")
    assert array_task.run_array_task(plan, "0/1") == 0
    assert tried == ["run a", "run b"]


def test_a_finished_point_is_skipped(tmp_path, tried, capsys) -> None:
    plan = plan_of(tmp_path, "ab")
    (tmp_path / "a").mkdir()
    for name in RESULTS:
        (tmp_path / "a" / name).touch()
    Status(tmp_path / "a", "").set("finished")
    assert array_task.run_array_task(plan, "0/1") == 0
    assert tried == ["run b"]
    assert "sweep: 2 runs: 1 finished, 1 skipped, 0 failed" in capsys.readouterr().out


def test_a_point_that_another_process_takes_first_is_looked_at_again(tmp_path, monkeypatch, capsys):
    tries: list[str] = []
    (tmp_path / "a").mkdir()
    other = locked(tmp_path / "a")

    def attempt(line: str) -> Outcome:
        tries.append(RunSpec.from_json(line).config["run_name"])
        if tries == ["a"]:
            other.__enter__()
            return Outcome("failed", "", "in use")
        if tries == ["a", "b"]:
            other.__exit__(None, None, None)
        return Outcome("finished", "")

    monkeypatch.setattr(array_task, "try_execute_line", attempt)
    assert array_task.run_array_task(plan_of(tmp_path, "ab"), "0/1") == 0
    assert tries == ["a", "b", "a"]
    assert "in use" not in capsys.readouterr().out


@cases("asked", "4/4", "-1/4", "0", "a/b", "0/0", "1/4 ")
def test_a_part_that_there_is_not_is_refused(tmp_path, tried, asked) -> None:
    with pytest.raises(ValueError, match=r"^--part must be I/N with I from 0 to N - 1, got "):
        array_task.run_array_task(plan_of(tmp_path, "ab"), asked)
    assert tried == []
