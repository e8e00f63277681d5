"""Worker processes of this machine: who dies fails alone, who is told to stop saves itself."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from inspect import getsource
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from command import environment
from grids import TINY, planned_of
from handlers import as_before
from joblib.externals.loky import get_reusable_executor, process_executor

from harness.launch.backends import local
from harness.launch.backends.gpu_slots import Devices
from harness.launch.backends.local import LOST, LocalBackend, _deferred_signals
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.outcome import Outcome
from harness.run_folder.status_file import Status
from harness.system.locks import Busy, locked

UNRULY = "saliency._target_=unruly.Unruly"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def _outcomes(
    points: list[PlannedRun], n_jobs: int, devices: Devices | None = None
) -> list[Outcome]:
    lines = [point.line for point in points]
    ended = dict(LocalBackend(n_jobs, devices or Devices()).run(lines))
    assert sorted(ended) == list(range(len(points)))
    return [ended[number] for number in range(len(points))]


def test_only_the_point_whose_worker_is_killed_fails(tmp_path) -> None:
    common = (*TINY, f"output_dir={tmp_path}", "progress=none")
    quiet = planned_of(*common, "seed=0,1,2")
    deadly = planned_of(*common, UNRULY)

    found = _outcomes([quiet[0], *deadly, *quiet[1:]], n_jobs=2)

    # One that ended just before the other's death is found finished when it is looked at again.
    assert [each.state == "failed" for each in found] == [False, True, False, False]
    assert found[1] == Outcome("failed", deadly[0].folder, LOST, retryable=True)
    assert all(each.finished() for each in quiet)


def test_a_worker_that_is_killed_once_costs_nothing(tmp_path) -> None:
    points = planned_of(
        *TINY, f"output_dir={tmp_path}", UNRULY, f"+saliency.once={tmp_path}/once", "seed=0,1"
    )

    assert [each.state for each in _outcomes(points, n_jobs=1)] == ["finished", "finished"]
    assert (tmp_path / "once").exists()


def test_what_may_end_otherwise_is_told_from_wrong_input(tmp_path) -> None:
    points = planned_of(
        *TINY, f"output_dir={tmp_path}", UNRULY, "+saliency.how=raise,wrong", "seed=0"
    )

    found = _outcomes(points, n_jobs=1)

    assert [each.retryable for each in found] == [True, False]
    assert found[0].reason == "RuntimeError: no luck" and found[1].reason == "wrong input"
    assert all("Traceback" in Path(each.log).read_text() for each in found)
    assert all(each.seconds > 0 for each in found)


def test_no_worker_begins_where_all_devices_are_taken(tmp_path, monkeypatch) -> None:
    others = _workers_of_others()  # and new workers take the variable over
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    place = tmp_path / f"pruning-harness-devices-{os.getuid()}" / "7-0"
    place.mkdir(parents=True)
    points = planned_of(*TINY, f"output_dir={tmp_path}", "seed=0,1")

    with locked(place), pytest.raises(Busy, match="all 1 slots on devices 7 are taken"):
        _outcomes(points, n_jobs=1, devices=Devices(("7",)))

    assert not (tmp_path / "single").exists()
    assert _workers_of(os.getpid()) == others


def test_closing_lets_what_is_under_way_save_itself_and_ends_the_workers(tmp_path) -> None:
    points = planned_of(*TINY, f"output_dir={tmp_path}", "seed=0,1", "retraining.epochs=2,5000")
    short, long = points[0], points[1]
    others = _workers_of_others()
    outcomes = LocalBackend(2, Devices()).run([long.line, short.line])

    number, outcome = next(outcomes)
    status = Status(Path(long.folder), "")
    _until(lambda: (Path(long.folder) / "checkpoints").exists())
    outcomes.close()

    assert (number, outcome.state) == (1, "finished")
    assert status.read()["state"] == "interrupted"
    _until(lambda: _workers_of(os.getpid()) == others)


def test_workers_of_a_sweep_that_is_killed_leave(tmp_path) -> None:
    said = ["-m", *TINY, f"output_dir={tmp_path}", "seed=0,1", "hydra.launcher.n_jobs=2"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "harness", *said, "training.epochs=5000"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _until(lambda: len(list(tmp_path.glob("single/*/*/status.json"))) == 2)
    workers = _workers_of(sweep.pid)
    sweep.kill()
    sweep.wait()

    assert len(workers) == 2
    _until(lambda: not any(map(_is_there, workers)))
    states = [
        Status(file.parent, "").read()["state"] for file in tmp_path.glob("single/*/*/status.json")
    ]
    assert states == ["interrupted", "interrupted"]


def _text_of_loky() -> str:
    """Returns the warning that loky's source has, in literals one below the other."""
    source = getsource(process_executor).partition("warnings.warn(")[2].partition("UserWarning")[0]
    return "".join(re.findall(r'"(.*)"', source))


def test_a_worker_that_is_replaced_because_it_grew_is_not_warned_of(monkeypatch) -> None:
    monkeypatch.setattr(local, "_loky", MagicMock)  # no processes
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        local._executor(1)
        warnings.warn(_text_of_loky(), UserWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(each.message) for each in told] == ["another"]


def test_a_signal_in_the_middle_of_starting_workers_comes_when_they_have_started() -> None:
    heard: list[int] = []
    with as_before():
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        with _deferred_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            assert heard == []
        assert heard == [signal.SIGTERM]
        assert signal.SIGTERM in blocked
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _workers_of_others() -> list[int]:
    """Returns the workers of reports that earlier tests wrote in this process.

    A sweep's own workers are ended.
    """
    get_reusable_executor().shutdown(kill_workers=True)
    return _workers_of(os.getpid())


def _workers_of(parent: int) -> list[int]:
    """Returns the process ids of a process's workers."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
        if fields[0] != "Z" and int(fields[1]) == parent and "popen_loky" in command:
            found.append(int(status.parent.name))
    return sorted(found)


def _is_there(pid: int) -> bool:
    return (Path("/proc") / str(pid)).exists()
