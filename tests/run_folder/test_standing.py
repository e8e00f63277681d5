"""Tests the state of a sweep, and pruning-harness sweep."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from handlers import as_before
from left_locks import ELSEWHERE, Clock, lock_left_by, renew
from planned_runs import finish, plan_in

from harness.cli import sweep as command
from harness.cli.status import lines
from harness.launch.sweeps import array_task
from harness.launch.sweeps.failed_plans import failed_plans
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.outcome import RESULTS, Outcome
from harness.run_folder.overview import run_status, scan
from harness.run_folder.status_file import Status
from harness.system.locks import locked


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores signal handlers and arguments: the command takes both over."""
    monkeypatch.setattr(sys, "argv", ["python"])
    with as_before():
        yield


def _state(point: PlannedRun) -> str:
    return run_status(Path(point.folder), point.label).state


def test_every_state_is_told_and_all_but_done_ones_by_name(tmp_path) -> None:
    plan = plan_in(tmp_path, "seed=0,1,2,3,4,5")
    done, running, killed, failed, stopped, _ = plan.runs
    finish(done)
    for point in (running, killed):
        finish(point, "running")
    finish(failed, "failed", "ValueError: too small")
    (Path(failed.folder) / "error.log").touch()
    finish(stopped, "interrupted", "Stopped: SIGINT")

    with locked(Path(running.folder)):
        said = lines(scan(tmp_path / "single"))

    assert said == [
        "6 runs: 1 done, 1 running, 2 interrupted, 1 failed, 1 missing",
        "  running: seed=1",
        f"  failed: seed=3: ValueError: too small (see {failed.folder}/error.log)",
        "  interrupted: seed=2",
        "  interrupted: seed=4: Stopped: SIGINT",
        "  missing: seed=5",
    ]


def test_a_run_of_another_host_is_at_work_unless_its_lock_was_seen_to_be_silent_for_a_lease(
    tmp_path, monkeypatch
) -> None:
    (point,) = plan_in(tmp_path, "seed=0").runs
    finish(point, "running")
    clock, lock = Clock(monkeypatch), lock_left_by(ELSEWHERE, Path(point.folder))
    for number in range(3):
        renew(lock, number)  # however old that is by a clock
        assert _state(point) == "running"
        clock.now += 59
    for _ in range(2):
        clock.now += 30
        said = _state(point)
    assert said == "interrupted"


def test_a_run_is_done_whatever_rerun_says_of_doing_it_again(tmp_path) -> None:
    for rerun in ("always", "changed"):
        (point,) = plan_in(tmp_path, "seed=0", f"rerun={rerun}").runs
        finish(point)
        Status(Path(point.folder), "other code").set("finished")

        assert _state(point) == "done"
        assert point.finished() is None


def test_a_finished_run_without_its_results_is_missing(tmp_path) -> None:
    (point,) = plan_in(tmp_path, "seed=0").runs
    finish(point)
    (Path(point.folder) / RESULTS[1]).unlink()

    assert _state(point) == "missing"


def test_a_damaged_status_is_one_failed_point(tmp_path) -> None:
    first, second = plan_in(tmp_path, "seed=0,1").runs
    finish(first)
    finish(second)
    (Path(first.folder) / "status.json").write_text("{")

    found = scan(tmp_path / "single").runs
    assert [each.state for each in found] == ["failed", "done"]
    assert "status.json is damaged" in found[0].reason
    assert first.finished() is None


def test_a_failed_point_is_tried_by_the_newest_plan_that_has_it(tmp_path) -> None:
    old = plan_in(tmp_path, "seed=0,1", file="plan-b.jsonl")
    new = plan_in(tmp_path, "seed=1,2", file="plan-a.jsonl")
    os.utime(old.file, (1, 1))
    assert failed_plans(tmp_path / "single") == []
    finish(old.runs[1], "failed")
    assert [plan.file for plan in failed_plans(tmp_path / "single")] == [new.file]
    finish(old.runs[0], "failed")
    assert [plan.file for plan in failed_plans(tmp_path / "single")] == [new.file, old.file]


def _main(*arguments: str) -> int:
    try:
        return command.main(arguments)
    except SystemExit as left:
        assert isinstance(left.code, int)
        return left.code


def test_status_says_by_its_own_whether_a_point_failed(tmp_path, capsys) -> None:
    (point,) = plan_in(tmp_path, "seed=0").runs
    assert _main("status", str(tmp_path / "single")) == 0
    finish(point, "failed", "why")
    assert _main("status", str(tmp_path / "single")) == 1
    assert (
        "1 runs: 0 done, 0 running, 0 interrupted, 1 failed, 0 missing" in capsys.readouterr().out
    )
    assert _main("status", str(tmp_path)) == 1
    said = capsys.readouterr().out
    assert "  failed: single: " in said and "seed=0: why\n" in said
    assert _main("retry", str(tmp_path)) == 2
    assert "holds no plan of a sweep; give the folder of one" in capsys.readouterr().err


def test_parts_cover_every_point_once(tmp_path, monkeypatch) -> None:
    plan = plan_in(tmp_path, "seed=0,1,2,3,4", "method=random")
    finish(plan.runs[3])
    begun: list[str] = []

    def begin(line: str) -> Outcome:
        begun.append(line)
        return Outcome("finished", "f")

    monkeypatch.setattr(array_task, "try_execute_line", begin)
    counts = []
    for number in range(3):
        before = len(begun)
        assert _main("run", str(plan.file), "--part", f"{number}/3") == 0
        counts.append(len(begun) - before)

    assert counts == [1, 2, 1]  # of 2, 2 and 1, without the finished one
    assert sorted(begun) == sorted(p.line for p in plan.runs if p != plan.runs[3])
    assert _main("run", str(plan.file), "--part", "8/9") == 0


def test_dense_training_alone_is_done_once_for_those_that_share_it(tmp_path, monkeypatch, capsys):
    plan = plan_in(tmp_path, "seed=0,1", "method=random,global_magnitude,snip")  # snip has none
    begun: list[str] = []

    def begin(line: str) -> Outcome:
        begun.append(json.loads(line)["command"])
        return Outcome("failed", "f", "no disk")

    monkeypatch.setattr(array_task, "try_execute_line", begin)
    assert _main("run", str(plan.file), "--dense") == 1
    assert begun == ["dense", "dense"]
    assert "failed: dense training of seed=0 method=" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["1/1", "2/1", "0/0", "a", "-1/2", "1", "0/1/2", ""])
def test_a_part_that_is_none_is_refused(wrong, tmp_path, capsys) -> None:
    plan = plan_in(tmp_path, "seed=0")

    assert _main("run", str(plan.file), f"--part={wrong}") == 2
    assert "--part must be I/N with I from 0 to N - 1" in capsys.readouterr().err


def test_a_plan_of_elsewhere_is_not_started(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_in(Path("results"), "seed=0")
    finish(plan.runs[0], "failed", "why")
    monkeypatch.chdir("/")

    assert _main("run", str(tmp_path / plan.file)) == 2
    assert _main("retry", str(tmp_path / "results/single")) == 2
    assert capsys.readouterr().err.count("start the command in the folder where") == 2
    assert _main("status", str(tmp_path / "results/single")) == 1


def test_retry_gives_the_command_again_for_failed_points_only(tmp_path, monkeypatch, capsys):
    first = plan_in(tmp_path, "seed=0", file="plan-a.jsonl")
    other = plan_in(tmp_path, "seed=1", file="plan-b.jsonl")
    os.utime(first.file, (1, 1))
    assert _main("retry", str(tmp_path / "single")) == 0
    assert "has failed" in capsys.readouterr().out
    finish(first.runs[0], "failed")
    finish(other.runs[0], "failed")
    started: list[tuple[str, list[str]]] = []
    ends = iter([1, 0, 130])

    def start(arguments: list[str], name: str) -> None:
        started.append((name, arguments))
        raise SystemExit(next(ends))

    monkeypatch.setattr(command.run, "main", start)
    assert _main("retry", str(tmp_path / "single")) == 1
    assert started == [
        ("run", ["seed=1", "launch.action=retry_failed"]),
        ("run", ["seed=0", "launch.action=retry_failed"]),
    ]
    assert _main("retry", str(tmp_path / "single")) == 130
    assert len(started) == 3  # stopped, the second one does not begin
