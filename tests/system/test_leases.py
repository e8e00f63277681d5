"""A process that has lost its folder stops before its next write there, and says so."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY, environment, only_run, run_main
from conftest import HELPERS
from left_locks import ELSEWHERE, lock_left_by, renew

from harness.run_folder.checkpoints import STEP, Checkpoints
from harness.run_folder.export import ExportedModel, export_model
from harness.run_folder.followers import RecordWriter
from harness.run_folder.progress_file import ProgressFile
from harness.run_folder.status_file import Status
from harness.system import locks
from harness.system.atomic_files import write_atomic
from harness.system.errors import LeaseLost, NotFinite
from harness.system.leases import HOLDER, LOCK, read_holder
from harness.system.locks import Busy, locked
from harness.tracking.sent_rows import SentRows
from harness.training.state_files import store

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
SECONDS_AHEAD = (600, -600)


class Other:
    """Another process, on a host of the given name; "" is this one."""

    def __init__(self, host: str, folder: Path, lease: float = 60, skew: int = 0, how: str = ""):
        fake = {
            "LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": f"{skew:+d}", "NO_FAKE_STAT": "1",
        } if FAKETIME and skew else {}  # fmt: skip
        patched = 0 if FAKETIME else skew
        program = str(HELPERS / "locks_program.py")
        self.process = subprocess.Popen(
            [sys.executable, program, host, str(folder), str(lease), str(patched), how or "once"],
            env=environment() | fake, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def is_told(self, line: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.said()


@contextmanager
def other(*arguments: Any, **options: Any) -> Iterator[Other]:
    there = Other(*arguments, **options)
    try:
        yield there
    finally:
        there.process.kill()
        there.process.communicate()


@pytest.mark.parametrize("skew", SECONDS_AHEAD)
def test_a_host_whose_clock_is_ten_minutes_off_leaves_a_living_lock_alone(tmp_path, skew) -> None:
    with other("a", tmp_path) as first, ExitStack() as stack:
        assert first.said() == "in"
        second = stack.enter_context(other("b", tmp_path, skew=skew))
        assert second.said().startswith(f"Busy: {tmp_path} is in use by process ")
        assert first.is_told("mine") == "wrote"


@pytest.mark.parametrize("skew", SECONDS_AHEAD)
def test_a_host_whose_clock_is_ten_minutes_off_takes_a_dead_hosts_lock_over(tmp_path, skew) -> None:
    renew(lock_left_by(ELSEWHERE, tmp_path), time.time())
    with other("b", tmp_path, lease=0.3, skew=skew, how="wait") as heir:
        assert heir.said() == "in"
        assert heir.is_told("mine") == "wrote"


def test_a_suspended_process_of_this_host_keeps_its_folder_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.1)
    with other("", tmp_path, lease=0.1) as first:
        assert first.said() == "in"
        first.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, first.process.pid, os.WSTOPPED | os.WNOWAIT)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            why = f"which is suspended; resume it .kill -CONT {first.process.pid}. or stop it"
            with pytest.raises(Busy, match=why), locked(tmp_path, wait=False):
                pass
            time.sleep(0.03)
        first.process.send_signal(signal.SIGCONT)
        assert first.is_told("mine") == "wrote"
    assert (tmp_path / "file").read_text() == "mine\n"


def test_a_suspended_process_of_another_host_loses_its_folder_and_stops_before_it_writes(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_S", 0.3)
    with other("a", tmp_path, lease=0.3) as first:
        assert first.said() == "in"
        first.process.send_signal(signal.SIGSTOP)
        with locked(tmp_path) as lease:
            write_atomic(tmp_path / "file", "mine")
            first.process.send_signal(signal.SIGCONT)
            said = first.is_told("theirs")
            assert said.startswith(
                f"LeaseLost: {tmp_path} is not locked by this process any more: "
            )
            assert f"its lock was taken over by process {os.getpid()} on " in said
            assert first.process.wait(10) == 0
            lease.check()  # the loser took nothing away with it
        assert (tmp_path / "file").read_text() == "mine"


def test_a_lock_that_was_removed_is_noticed_before_the_next_write(tmp_path) -> None:
    gone = pytest.raises(LeaseLost, match="its lock was removed; nothing more is written")
    with gone, locked(tmp_path):
        write_atomic(tmp_path / "before", "")
        shutil.rmtree(tmp_path / LOCK)
        write_atomic(tmp_path / "deep" / "after", "")
    assert os.listdir(tmp_path) == ["before"]


def test_a_folder_that_was_lost_while_a_long_file_was_written_keeps_what_it_had(
    tmp_path, monkeypatch
) -> None:
    write_atomic(tmp_path / "file", "theirs")
    with pytest.raises(LeaseLost), locked(tmp_path):
        monkeypatch.setattr(os, "fsync", lambda _: shutil.rmtree(tmp_path / LOCK))
        write_atomic(tmp_path / "file", "mine")
    assert (tmp_path / "file").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_beside_the_lost_one_is_still_written_to(tmp_path) -> None:
    with locked(tmp_path), ExitStack() as stack:
        (tmp_path / "inner").mkdir()
        stack.enter_context(locked(tmp_path / "inner"))
        shutil.rmtree(tmp_path / "inner" / LOCK)
        write_atomic(tmp_path / "file", "")
        with pytest.raises(LeaseLost, match=f"^{tmp_path}/inner is not"):
            write_atomic(tmp_path / "inner" / "file", "")


def test_a_loser_neither_renews_nor_frees_the_lock_of_the_winner(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.01)
    with locked(tmp_path):
        shutil.rmtree(tmp_path / LOCK)
        lock = lock_left_by(ELSEWHERE, tmp_path)
        time.sleep(0.1)
        assert (lock / HOLDER).stat().st_mtime == 0
    found = read_holder(lock)
    assert found and found.process == ELSEWHERE


def test_other_ranks_get_the_error_as_it_is() -> None:
    error = pickle.loads(pickle.dumps(LeaseLost("why")))
    assert isinstance(error, LeaseLost) and str(error) == "why"
    assert pickle.loads(pickle.dumps(Busy("why", is_alive=False))).is_alive is False


def _position(folder: Path) -> None:
    ProgressFile(folder).begin(1, 1)
    raise LeaseLost("no run fails for it, but nothing is written either")


WRITERS: dict[str, Callable[[Path], object]] = {
    "timings": lambda folder: RecordWriter(folder, 1).log_timing(event="restarted"),
    "status": lambda folder: Status(folder, "").set("failed", "why"),
    "checkpoint": lambda folder: Checkpoints(folder / "checkpoints").save("a", STEP, {}),
    "no checkpoint": lambda folder: Checkpoints(folder / "checkpoints").clear(),
    "delivery": lambda folder: export_model(folder, ExportedModel({}, {}, (1,), 2)),
    "dense state": lambda folder: store(folder / "epoch-00001.safetensors", {"w": torch.ones(1)}),
    "rows sent": lambda folder: SentRows(folder / "sent").add("a", 1),
    "position": _position,
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_of_a_run_is_written_or_deleted_in_a_folder_that_was_lost(tmp_path, name) -> None:
    Checkpoints(tmp_path / "checkpoints").save("theirs", STEP, {})
    with locked(tmp_path):
        shutil.rmtree(tmp_path / LOCK)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(LeaseLost):
            WRITERS[name](tmp_path)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("why", ["", "loss nan"])
def test_a_run_that_loses_its_folder_ends_in_one_line_and_leaves_all_as_it_is(
    tmp_path, monkeypatch, capfd, why
) -> None:
    log, there = RecordWriter.log, dict[Path, bytes]()

    def lost(files: RecordWriter, record: Any) -> None:
        log(files, record)
        if record.level == 1 and not there:
            shutil.rmtree(files.folder / LOCK)
            lock_left_by(ELSEWHERE, files.folder)
            there.update({f: f.read_bytes() for f in files.folder.rglob("*") if f.is_file()})
            if why:
                raise NotFinite(why)

    monkeypatch.setattr(RecordWriter, "log", lost)
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}") == 1

    folder = only_run(tmp_path)
    assert {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()} == there
    said = capfd.readouterr().err
    lost_it = f"harness: {folder} is not locked by this process any more: its lock was taken"
    assert said.splitlines()[-1].startswith(f"harness: {why}" if why else lost_it)
    assert "Traceback" not in said
