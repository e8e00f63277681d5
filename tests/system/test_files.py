import errno
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from harness.system import atomic_files
from harness.system.atomic_files import (
    CannotWrite,
    make_writable,
    read_json,
    write_json,
    write_whole,
)
from harness.system.locks import Busy, locked

# Beyond the largest process id of Linux, so nobody has it.
NOBODY = 2**22 + 1


def left_behind(folder: Path, host: str, pid: int, silent_s: float = 0.0) -> Path:
    """A lock whose holder never released it."""
    lock = folder / ".lock"
    lock.mkdir()
    write_json(lock / "holder.json", {"host": host, "pid": pid})
    then = time.time() - silent_s
    os.utime(lock, (then, then))
    return lock


def test_a_file_is_written_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r"a\.txt \(no space left on device\); make room"):
        write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_reader_in_the_middle_of_the_file_sees_the_old_content(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "old")
    with (tmp_path / "a.txt").open() as file:
        write_whole(tmp_path / "a.txt", "new")
        assert file.read() == "old"


def test_json_comes_back_and_a_missing_file_is_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert read_json(tmp_path / "a.json") == {"b": [1, None]}
    assert read_json(tmp_path / "no.json") is None


def test_equal_values_are_equal_files(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1, "y": 2})
    write_json(tmp_path / "b.json", {"y": 2, "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_folder_is_created_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    make_writable(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write into .*file/runs .*choose another folder"):
        make_writable(tmp_path / "file" / "runs")


def test_a_second_holder_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    mine = f"process {os.getpid()} on {socket.gethostname()}"
    with (
        locked(tmp_path),
        pytest.raises(Busy, match=f"in use by {mine}; wait"),
        locked(tmp_path, wait=False),
    ):
        pass


def test_a_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path, wait=False):
            pass
    assert os.listdir(tmp_path) == []


def test_a_lock_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path, wait=False):
        pass


def test_a_refused_holder_does_not_free_the_lock_of_the_first(tmp_path: Path) -> None:
    with locked(tmp_path):
        for _ in range(2):
            with pytest.raises(Busy), locked(tmp_path, wait=False):
                pass


def test_waiting_ends_when_the_first_holder_is_done(tmp_path: Path) -> None:
    inside: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with locked(tmp_path):
            entered.set()
            leave.wait(5)
            inside.append("first")

    holder = threading.Thread(target=first)
    holder.start()
    entered.wait(5)
    threading.Timer(0.15, leave.set).start()
    with locked(tmp_path):
        inside.append("second")
    holder.join()
    assert inside == ["first", "second"]


@pytest.mark.parametrize("wait", [True, False])
def test_the_lock_of_a_dead_process_on_this_host_is_taken_over(tmp_path: Path, wait: bool) -> None:
    left_behind(tmp_path, socket.gethostname(), NOBODY)
    with locked(tmp_path, wait):
        assert read_json(tmp_path / ".lock" / "holder.json")["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_a_silent_lock_of_another_host_is_taken_over(tmp_path: Path) -> None:
    left_behind(tmp_path, "elsewhere", 1, silent_s=atomic_files.STALE_S + 5)
    with locked(tmp_path, wait=False):
        pass


def test_a_lock_of_another_host_that_beats_is_respected(tmp_path: Path) -> None:
    left_behind(tmp_path, "elsewhere", NOBODY, silent_s=atomic_files.STALE_S - 5)
    with (
        pytest.raises(Busy, match=f"process {NOBODY} on elsewhere"),
        locked(tmp_path, wait=False),
    ):
        pass


def test_a_silent_lock_is_taken_over_although_its_pid_was_given_to_another(tmp_path: Path) -> None:
    # In a restarted container the new process often has the dead one's pid.
    left_behind(tmp_path, socket.gethostname(), os.getpid(), silent_s=atomic_files.STALE_S + 5)
    with locked(tmp_path, wait=False):
        pass


def test_a_lock_without_a_name_in_it_is_young_and_respected(tmp_path: Path) -> None:
    # Its holder was just about to write it.
    (tmp_path / ".lock").mkdir()
    with pytest.raises(Busy, match=r"process \? on \?"), locked(tmp_path, wait=False):
        pass


def test_a_holder_killed_while_it_wrote_its_name_blocks_nobody(tmp_path: Path) -> None:
    lock = left_behind(tmp_path, "elsewhere", 1)
    (lock / ".holder.json.12345678.harness-part").write_text("{")
    then = time.time() - atomic_files.STALE_S - 5
    os.utime(lock, (then, then))
    with locked(tmp_path, wait=False):
        pass


def test_of_two_that_see_a_stale_lock_only_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(tmp_path, socket.gethostname(), NOBODY)
    looked, first = threading.Event(), threading.Event()
    is_stale = atomic_files.is_stale
    inside: list[str] = []

    def slowly(lock: Path) -> bool:
        stale = is_stale(lock)
        if threading.current_thread().name == "slow" and not looked.is_set():
            # Between this look and what follows from it, the other one takes the lock over.
            looked.set()
            first.wait(5)
        return stale

    def slow() -> None:
        with locked(tmp_path):
            inside.append("slow")

    monkeypatch.setattr(atomic_files, "is_stale", slowly)
    other = threading.Thread(target=slow, name="slow")
    other.start()
    looked.wait(5)
    with locked(tmp_path):
        first.set()
        time.sleep(0.3)
        inside.append("quick")
    other.join()
    assert inside == ["quick", "slow"]


def test_a_holder_beats_while_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "HEARTBEAT_S", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / ".lock", (0, 0))
        time.sleep(0.2)
        assert time.time() - (tmp_path / ".lock").stat().st_mtime < 60


def test_the_holder_is_written_as_json(tmp_path: Path) -> None:
    with locked(tmp_path):
        holder = json.loads((tmp_path / ".lock" / "holder.json").read_text())
    assert holder == {"host": socket.gethostname(), "pid": os.getpid()}
