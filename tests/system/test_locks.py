"""A lock keeps a folder for one process, whatever the clocks of two hosts say."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cases
from left_locks import ELSEWHERE, GONE, Clock, lock_left_by, refused, renew

from harness.system import locks
from harness.system.atomic_files import CannotWrite
from harness.system.leases import HOLDER, LOCK, read_holder
from harness.system.locks import is_held, is_stale, locked, remove_stale_lock
from harness.system.processes import this_process


def test_a_second_holder_is_refused_by_name_of_the_first(tmp_path) -> None:
    mine = f"process {os.getpid()} on {socket.gethostname()}"
    with locked(tmp_path):
        for _ in range(2):  # nor does a refused one free the lock of the first
            assert refused(tmp_path) == (
                f"{tmp_path} is in use by {mine}; wait for it or stop it first"
            )


def test_a_lock_is_free_again_afterwards_also_after_an_error(tmp_path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path, wait=False):
        pass
    assert os.listdir(tmp_path) == []


def test_waiting_ends_when_the_first_holder_is_done(tmp_path) -> None:
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


@cases("wait", True, False)
def test_the_lock_of_a_dead_process_of_this_host_is_taken_over_at_once(tmp_path, wait) -> None:
    lock_left_by(GONE, tmp_path)
    with locked(tmp_path, wait):
        found = read_holder(tmp_path / LOCK)
        assert found and found.process == this_process()
    assert os.listdir(tmp_path) == []


def test_a_process_that_has_ended_and_one_that_had_the_same_number_are_dead(tmp_path) -> None:
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # nobody has taken notice yet
        lock_left_by(replace(this_process(), pid=zombie.pid, began=""), tmp_path / "a")
        assert not is_held(tmp_path / "a")
    lock_left_by(replace(this_process(), pid=os.getppid(), began="1"), tmp_path / "b")
    lock_left_by(this_process(), tmp_path / "c")  # of which this process knows nothing
    assert not is_held(tmp_path / "b") and not is_held(tmp_path / "c")


@cases(
    "there", replace(GONE, host="b"), replace(GONE, boot="before"), replace(GONE, namespace="inner")
)
def test_a_process_that_could_not_be_seen_here_is_not_dead_because_it_is_not_seen(tmp_path, there):
    # Containers may share the host's name, and hosts may have one name.
    lock_left_by(there, tmp_path)
    assert is_held(tmp_path)
    refused(tmp_path)


@cases("said", "", "[]", '"', '{"host": 1}', '{"pid": -1, "host": "h"}')
def test_a_lock_that_names_nobody_is_watched_like_one_of_another_host(tmp_path, monkeypatch, said):
    clock = Clock(monkeypatch)
    lock = lock_left_by(GONE, tmp_path)
    if said:
        (lock / HOLDER).write_text(said)
    else:
        (lock / HOLDER).rename(lock / ".holder.json.12345678.harness-part")  # and then a kill
    remove_stale_lock(lock)
    assert "in use by process ? on ?" in refused(tmp_path)
    clock.now += 30
    refused(tmp_path)
    clock.now += 30
    with locked(tmp_path, wait=False):
        pass
    assert os.listdir(tmp_path) == []


def test_of_two_that_see_a_stale_lock_only_one_gets_it(tmp_path, monkeypatch) -> None:
    lock_left_by(GONE, tmp_path)
    looked, first = threading.Event(), threading.Event()
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

    monkeypatch.setattr(locks, "is_stale", slowly)
    other = threading.Thread(target=slow, name="slow")
    other.start()
    looked.wait(5)
    with locked(tmp_path):
        first.set()
        time.sleep(0.3)
        inside.append("quick")
    other.join()
    assert inside == ["quick", "slow"]


def test_a_takeover_that_was_killed_half_way_holds_nobody_up_for_ever(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    lock_left_by(GONE, tmp_path)
    (tmp_path / ".lock-takeover").mkdir()
    for _ in range(3):
        refused(tmp_path)
        clock.now += 30
    with locked(tmp_path, wait=False):
        pass
    assert os.listdir(tmp_path) == []


def test_a_holder_renews_its_lock_while_it_works(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.01)
    with locked(tmp_path):
        holder = tmp_path / LOCK / HOLDER
        renew(tmp_path / LOCK, 0)
        deadline = time.monotonic() + 5
        while holder.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert holder.stat().st_mtime > 0


@cases("reason", errno.EROFS, errno.EACCES, errno.ENOSPC)
@cases("call", "mkdir", "fsync")
def test_where_nothing_can_be_written_it_is_said_in_one_line_and_no_half_lock_is_left(
    tmp_path, monkeypatch, call, reason
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    with monkeypatch.context() as there:
        there.setattr(os, call, refuse)
        with pytest.raises(CannotWrite, match=rf"^cannot write .*lock.* \({os.strerror(reason)}\)"):
            locked(tmp_path).__enter__()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_folder_of_somebody_else_is_refused_in_one_line(tmp_path) -> None:
    program = (
        "import os, sys, pathlib; from harness.system import locks, atomic_files as a\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "try: locks.locked(pathlib.Path('.')).__enter__()\n"
        "except a.CannotWrite as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert done.stdout.startswith("cannot write .lock (Permission denied); "), done
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_no_full_disk(tmp_path) -> None:
    # Whoever takes turns makes it again.
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none"):
        pass


def test_the_holder_is_written_as_json(tmp_path) -> None:
    with locked(tmp_path) as lease:
        holder = json.loads((tmp_path / LOCK / HOLDER).read_text())
    assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
    assert holder["token"] == lease.token


def test_a_lock_that_is_removed_while_it_is_watched_is_free(tmp_path) -> None:
    lock = lock_left_by(ELSEWHERE, tmp_path)
    assert not is_stale(lock)
    (lock / HOLDER).unlink()
    lock.rmdir()
    assert not is_held(tmp_path)
    with locked(tmp_path, wait=False):
        pass
