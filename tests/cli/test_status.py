"""pruning-harness status: runs of a folder, with and without plans."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from command import environment
from planned_runs import finish, plan_in

from harness.cli import status
from harness.run_folder import overview as standings
from harness.run_folder.overview import HOME, RunStatus, scan, seconds_left
from harness.run_folder.progress_file import FILE, ProgressFile, RunProgress
from harness.run_folder.status_file import Status
from harness.system.locks import locked


def run(folder: Path, state: str, reason: str = "") -> Path:
    folder.mkdir(parents=True)
    if state == "finished":
        for name in standings.RESULTS:
            (folder / name).touch()
    Status(folder, "code").set(state, reason)
    return folder


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    code = status.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_a_running_run_is_told_with_where_it_is(tmp_path, capsys) -> None:
    folder = run(tmp_path / "single" / "ab" / "run-ab", "running")
    began = time.time() - 100
    file = ProgressFile(folder, clock=iter([began, began, began + 100, began + 100]).__next__)
    file.begin(levels=5, epochs=40)
    file.epoch(2, 3, 10, 0.875)
    with locked(folder):
        code, lines, _ = shown(capsys, str(tmp_path))
    assert code == 0
    assert lines[0].startswith("1 runs: 0 done, 1 running, 0 interrupted, 0 failed, 0 missing; ab")
    name = f"{tmp_path.name}/single/ab/run-ab"
    where = "level 2/5  epoch 3/10  validation 87.50 %  about 65 min left"
    assert lines[1:] == [f"  running: {name}  {where}"]


@pytest.mark.parametrize("folder", ["", "single", "single/ab/run-ab"])
def test_a_folder_of_all_runs_of_a_sweep_or_of_one_run_is_read(tmp_path, folder, capsys) -> None:
    run(tmp_path / "single" / "ab" / "run-ab", "failed", "ValueError: too small")
    run(tmp_path / ".cache/dense" / "cd" / "cache", "failed")
    code, lines, _ = shown(capsys, str(tmp_path / folder))
    assert code == 1
    assert lines[0] == "1 runs: 0 done, 0 running, 0 interrupted, 1 failed, 0 missing"
    assert len(lines) == 2 and lines[1].endswith("run-ab: ValueError: too small")


def test_runs_of_plans_and_others_are_told_once_each(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_in(Path("runs"), "seed=0,1,2")
    finish(plan.runs[0])
    run(Path("runs/other/ab/run-ab"), "finished")
    run(Path("runs/single/ab/run-ab"), "interrupted", "Stopped: SIGTERM")

    found = {each.label: each.state for each in scan(Path("runs")).runs}
    assert found == {
        "single: seed=0": "done", "single: seed=1": "missing", "single: seed=2": "missing",
        "runs/other/ab/run-ab": "done", "runs/single/ab/run-ab": "interrupted",
    }  # fmt: skip
    monkeypatch.chdir("runs/single")
    assert [each.label for each in scan(Path(".")).runs][:3] == ["seed=0", "seed=1", "seed=2"]
    assert len(scan(Path(".")).runs) == 4


def test_a_sweeps_folder_that_was_moved_is_read_where_it_is(tmp_path) -> None:
    plan = plan_in(tmp_path / "runs", "seed=0,1")
    finish(plan.runs[0])
    shutil.move(tmp_path / "runs" / "single", tmp_path / "elsewhere")
    states = [each.state for each in scan(tmp_path / "elsewhere").runs]
    assert states == ["done", "missing"]


def test_an_analysis_is_done_with_its_own_file(tmp_path) -> None:
    folder = run(tmp_path / "sensitivity" / "run-ab", "running")
    Status(folder, "code").set("finished")
    assert [each.state for each in scan(tmp_path).runs] == ["missing"]
    (folder / "sensitivity.jsonl").touch()
    assert [each.state for each in scan(tmp_path).runs] == ["done"]


def test_wrong_folders_are_refused_in_one_line(tmp_path, capsys) -> None:
    assert shown(capsys, str(tmp_path / "none"))[::2] == (
        2,
        f"harness: RUNS={tmp_path}/none is not a folder: pass that of a run, of a sweep or of all "
        "runs\n",
    )
    code, _, said = shown(capsys, str(tmp_path))
    assert code == 2 and f"harness: {tmp_path} holds no run and no plan" in said
    (tmp_path / HOME).mkdir()
    (tmp_path / HOME / "plan-a.jsonl").write_text("{}\n")
    code, _, said = shown(capsys, str(tmp_path))
    assert code == 2 and "plan-a.jsonl is no plan of a sweep" in said and said.count("\n") == 1


def test_a_damaged_status_or_position_is_told_and_stops_nothing(tmp_path) -> None:
    one, two, three = (run(tmp_path / "ab" / f"run-{n}", "running") for n in range(3))
    (one / "status.json").write_text("{")
    (two / "status.json").write_text("[]\n[")
    (three / FILE).write_text("{")
    with locked(three):
        found = scan(tmp_path).runs
    assert [each.state for each in found] == ["failed", "failed", "running"]
    assert "is damaged" in found[0].reason and found[2].progress is None


def _done(folder: Path, *seconds: float) -> RunStatus:
    folder.mkdir()
    lines = [json.dumps({"stage": "pruned", "seconds": each}) for each in seconds]
    event = json.dumps({"event": "latency", "milliseconds_median": 9})
    (folder / "timings.jsonl").write_text("\n".join([*lines, event, ""]))
    return RunStatus("", str(folder), "done")


def test_time_left_of_a_sweep_is_what_is_left_shared_by_those_that_run(tmp_path) -> None:
    done = [_done(tmp_path / "a", 4, 6), _done(tmp_path / "b", 20)]  # 15 seconds each
    at = RunProgress(1, epochs_in_all=4, began_unix_s=0, at_unix_s=6, epochs_done=2)  # 6 left
    running = [RunStatus("", "", "running", progress=one) for one in (at, None)]
    missing = [RunStatus("", "", "missing")] * 3

    assert seconds_left([*done, *running, *missing], now=6) == (6 + 15 + 3 * 15) / 2
    assert seconds_left([*done, running[0]], now=6) == 6
    assert seconds_left([*done, *running], now=6) == 15  # not before the last one has ended
    assert seconds_left([running[0], *missing], now=6) is None  # nobody knows what one takes
    assert seconds_left([*done, *missing], now=6) is None  # nobody is at work


def _status(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", "status", *arguments]


def test_a_reader_may_leave_early(tmp_path) -> None:
    run(tmp_path / "ab" / "run-ab", "finished")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(_status(str(tmp_path)), env=environment(), **pipes) as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (0, b"")


def _on_a_terminal(folder: Path) -> tuple["subprocess.Popen[bytes]", int]:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        _status(str(folder)), env=environment() | {"TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    return running, ours


def _read_until(terminal: int, text: bytes) -> bytes:
    said = b""
    while text not in said:
        said += os.read(terminal, 4096)
    return said


def test_a_terminal_is_shown_what_changes_until_nothing_runs(tmp_path) -> None:
    folder = run(tmp_path / "ab" / "run-ab", "running")
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        running, terminal = _on_a_terminal(tmp_path)
        _read_until(terminal, b"1 running")
        Status(folder, "code").set("failed", "why")
    said = _read_until(terminal, b"run-ab: why")
    assert b"1 failed" in said
    assert running.wait(60) == 1
    os.close(terminal)


def test_ctrl_c_leaves_the_view_quietly(tmp_path) -> None:
    folder = run(tmp_path / "ab" / "run-ab", "running")
    with locked(folder):
        running, terminal = _on_a_terminal(tmp_path)
        _read_until(terminal, b"1 running")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    said = b""
    try:
        while more := os.read(terminal, 4096):
            said += more
    except OSError:  # a terminal without its last process
        pass
    assert b"Traceback" not in said and b"Interrupt" not in said
    os.close(terminal)


def test_a_sweep_at_work_is_awaited_also_when_no_run_is(tmp_path) -> None:
    plan_in(tmp_path, "seed=0,1")
    assert not scan(tmp_path).is_active
    with locked(tmp_path / "single" / HOME):
        assert scan(tmp_path).is_active


def test_a_long_list_ends_with_how_many_more_there_are(monkeypatch) -> None:
    monkeypatch.setenv("LINES", "6")
    told = [str(number) for number in range(10)]
    assert status._fit_terminal(told) == [*"012", "  and 7 more; --once lists them all"]
    assert status._fit_terminal(told[:4]) == told[:4]


def test_the_command_loads_neither_torch_nor_hydra() -> None:
    code = "import sys, harness.cli.status; print({'torch', 'hydra', 'omegaconf'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    assert done.stdout == b"set()\n", done.stderr


def test_a_run_whose_first_epoch_has_not_ended_has_no_epoch() -> None:
    at = RunProgress(levels=3, epochs_in_all=8, began_unix_s=0, at_unix_s=0)
    found = RunStatus("seed=0", "runs/a", "running", progress=at)
    assert (
        status.lines(standings.RunsStatus([found], sweep_is_running=False))[1].rstrip()
        == "  running: seed=0  level 0/3"
    )
