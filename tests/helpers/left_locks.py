"""Locks that nobody of this process holds, and a clock for those who watch them."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.system.leases import HOLDER, LOCK, Holder
from harness.system.locks import Busy, locked
from harness.system.processes import Process, this_process

NOBODY = 2**22 + 1  # no Linux process has a larger id
ELSEWHERE = Process(1, "elsewhere")
GONE = replace(this_process(), pid=NOBODY)


def lock_left_by(process: Process, folder: Path) -> Path:
    """Writes the lock of a dead process, as old as a file can be: its age must not matter."""
    lock = folder / LOCK
    lock.mkdir(parents=True)
    (lock / HOLDER).write_text(json.dumps(Holder(process, "another").json))
    renew(lock, at_unix_s=0)
    return lock


def renew(lock: Path, at_unix_s: float) -> None:
    for path in (lock, lock / HOLDER):
        os.utime(path, (at_unix_s, at_unix_s))


class Clock:
    """Replaces the monotonic clock of a process that watches locks; a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def refused(folder: Path) -> str:
    with pytest.raises(Busy) as busy, locked(folder, wait=False):
        pass
    return str(busy.value)
