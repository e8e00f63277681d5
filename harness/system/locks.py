"""A lock that also works on network file systems: a folder that one process makes."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.system.atomic_files import CannotWrite, read_json, write_json
from harness.system.deletion import HALF_WRITTEN, Mark, delete, is_real_folder

HEARTBEAT_S = 5.0
STALE_S = 60.0
# All that a lock holds; also a name that its writer was killed over.
OF_LOCK = (Mark(r"holder\.json"), HALF_WRITTEN)


# Locks of this process: after a restart of its container another one had the same id.
_held: set[Path] = set()


class Busy(RuntimeError):
    """Another living process, on `host`, holds the lock."""

    def __init__(self, message: str, host: str = ""):
        super().__init__(message, host)
        self.host = host

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Holds folder/.lock, a directory, because mkdir is atomic on NFS where flock may not be.

    The holder's host and pid lie in it and its time is renewed every HEARTBEAT_S seconds; a lock
    whose holder is dead on this host, or silent for STALE_S seconds, is taken over.

    Raises:
        Busy: wait is False and a living process holds the lock.
    """
    lock = folder / ".lock"
    while not _acquired(lock):
        if not wait:
            host, pid = holder(lock) or ("?", "?")
            who = f"process {pid} on {host}"
            raise Busy(f"{folder} is in use by {who}; wait for it or stop it first", host)
        time.sleep(0.1)
    _held.add(lock.absolute())
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(lock, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        _held.discard(lock.absolute())
        _release(lock)


def _acquired(lock: Path) -> bool:
    bury_if_stale(lock)
    try:
        lock.mkdir()
    except FileExistsError:
        return False
    try:
        write_json(lock / "holder.json", {"host": socket.gethostname(), "pid": os.getpid()})
    except CannotWrite:
        _release(lock)
        raise
    return True


def bury_if_stale(lock: Path) -> None:
    """Removes a lock that its holder has left behind."""
    if not is_stale(lock):
        return
    # One process at a time looks again and removes: the lock may be a living one's by now.
    turn = lock.with_name(".lock-takeover")
    try:
        turn.mkdir()
    except FileExistsError:
        with suppress(OSError):
            if _age(turn) > STALE_S:
                turn.rmdir()
        return
    try:
        if is_stale(lock):
            _release(lock)
    finally:
        turn.rmdir()


def is_stale(lock: Path) -> bool:
    """Whether a lock's holder is dead on this host, or silent for too long; False without one.

    A link is no lock of ours.
    """
    try:
        age = _age(lock)
    except FileNotFoundError:
        return False
    if not is_real_folder(lock):
        return False
    host, pid = holder(lock) or ("", 0)
    if host == socket.gethostname():
        mine = pid == os.getpid()
        if not alive(pid) or (mine and lock.absolute() not in _held):
            return True
    return age > STALE_S


def holder(lock: Path) -> tuple[str, int] | None:
    """Host and process id of who holds a lock; None where it does not say so."""
    with suppress(ValueError, OSError):
        said = read_json(lock / "holder.json")
        if isinstance(said, dict):
            host, pid = said.get("host"), said.get("pid")
            if isinstance(host, str) and type(pid) is int and 0 < pid < 2**31:
                return host, pid
    return None


def _age(folder: Path) -> float:
    return time.time() - folder.lstat().st_mtime


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _beat(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):
            os.utime(lock)


def _release(lock: Path) -> None:
    delete(lock.parent, lock, OF_LOCK)
