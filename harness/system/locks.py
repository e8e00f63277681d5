"""Locks a folder, also on network file systems, by a folder that one process makes.

mkdir is atomic where flock may not be. filelock's lease takes over by exchanging two names, which
never succeeds there. No clock is compared: hosts and file servers need not agree on the time.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from harness.system.atomic_files import CannotWrite, write_json
from harness.system.deletion import HALF_WRITTEN, Mark, delete, is_real_folder
from harness.system.leases import HOLDER, LOCK, Lease, guard_writes, make_lease, read_holder

HEARTBEAT_S = 5.0
LEASE_S = 60.0
POLL_S = 0.1
# Files in a lock, also a temporary one whose writer was killed.
OF_LOCK = (Mark(r"holder\.json"), HALF_WRITTEN)
# Tokens of this process's locks. Before a restart of its container another process may have had
# the same number.
_own_tokens: set[str] = set()


class Busy(RuntimeError):
    """Reports that another process holds the lock.

    `is_alive` is True if that process was seen. A process on another host may be dead.
    """

    def __init__(self, message: str, is_alive: bool = True):
        super().__init__(message, is_alive)
        self.is_alive = is_alive

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[Lease]:
    """Holds folder/.lock with the name of its holder, renewed every HEARTBEAT_S seconds.

    A lock is taken over when its process has ended on this machine. One of another host, or without
    a holder, is taken over when it was not renewed for LEASE_S seconds while this process watched.
    A suspended process of this machine keeps its lock. Every write into the folder calls
    `check_leases`, so a holder that has lost the lock stops there.

    Raises:
        Busy: wait is False and the lock is held.
        CannotWrite: The lock cannot be made. Nothing of it stays.
        FileNotFoundError: The folder is missing.
    """
    while (lease := _acquired(folder)) is None:
        if not wait:
            raise _busy(folder)
        time.sleep(POLL_S)
    try:
        with _renewed(lease), guard_writes(lease):
            yield lease
    finally:
        # If this fails, the next process finds a stale lock.
        with suppress(OSError):
            if lease.is_held:
                _remove(lease.folder / LOCK)
        _own_tokens.discard(lease.token)


def is_held(folder: Path) -> bool:
    """Returns True if a process may hold the folder's lock, as far as this process has observed."""
    lock = folder / LOCK
    return lock.exists() and not is_stale(lock)


def is_stale(lock: Path) -> bool:
    """Returns True if no process holds the lock any more.

    Its process has ended on this machine; or, on another host, it was not renewed for LEASE_S
    seconds while this process watched. So one look never declares a remote lock stale. False
    without a lock. A link is no lock of ours.
    """
    if not is_real_folder(lock):
        return False
    holder = read_holder(lock)
    if holder and holder.process.is_local:
        is_own = holder.process.pid == os.getpid()
        return not holder.process.is_alive or (is_own and holder.token not in _own_tokens)
    return _unchanged_s(lock) >= LEASE_S


def is_remote_lock(lock: Path) -> bool:
    """Returns True if only watching can show whether the lock's holder is dead."""
    holder = read_holder(lock)
    return is_real_folder(lock) and not (holder and holder.process.is_local)


def watch_locks(locks: Iterable[Path]) -> None:
    """Watches remote locks until each was renewed, is gone or is stale.

    This takes LEASE_S seconds at most.
    """
    left = {lock: _facts(lock) for lock in locks if is_remote_lock(lock)}
    while left := {k: seen for k, seen in left.items() if not is_stale(k) and _facts(k) == seen}:
        time.sleep(POLL_S)


def remove_stale_lock(lock: Path) -> None:
    """Removes a lock that its holder has left behind."""
    if not is_stale(lock):
        return
    # One process at a time checks again and removes, because the lock may be in use by now.
    takeover = lock.with_name(".lock-takeover")
    try:
        takeover.mkdir()
    except FileExistsError:
        if _unchanged_s(takeover) >= LEASE_S:
            with suppress(OSError):
                takeover.rmdir()
        return
    try:
        if is_stale(lock):
            _remove(lock)
    finally:
        takeover.rmdir()


@dataclass(frozen=True)
class _Seen:
    facts: tuple[int, ...]
    at_s: float  # time of this process's monotonic clock
    unchanged_s: float


_seen: dict[Path, _Seen] = {}


def _unchanged_s(lock: Path) -> float:
    """Returns for how long this process has observed no change of a lock.

    At most half a lease counts between two observations. A pause of this process or of the file
    server says nothing about the holder.
    """
    now, facts, before = time.monotonic(), _facts(lock), _seen.get(lock)
    if before is None or before.facts != facts:
        unchanged_s = 0.0
    else:
        unchanged_s = before.unchanged_s + min(now - before.at_s, LEASE_S / 2)
    _seen[lock] = _Seen(facts, now, unchanged_s)
    return unchanged_s


def _facts(lock: Path) -> tuple[int, ...]:
    """Returns what every renewal changes.

    NFS asks its server for opened files only. For others it may return values that are a minute
    old.
    """
    for path in (lock / HOLDER, lock):
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(file)
            finally:
                os.close(file)
            return status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return ()


def _acquired(folder: Path) -> Lease | None:
    lock = folder / LOCK
    try:
        remove_stale_lock(lock)
        lock.mkdir()
    except FileExistsError:
        return None
    except FileNotFoundError:  # the folder has gone
        raise
    except OSError as error:
        raise CannotWrite.of(lock, error) from error
    lease, holder = make_lease(folder, uuid4().hex)
    _own_tokens.add(lease.token)
    try:
        write_json(lock / HOLDER, holder.json)
    except BaseException:
        with suppress(OSError):
            _remove(lock)
        _own_tokens.discard(lease.token)
        raise
    return lease


def _busy(folder: Path) -> Busy:
    holder = read_holder(folder / LOCK)
    if holder is None or not holder.process.is_local:
        user, remedy = holder or "process ? on ?", "wait for it or stop it first"
        return Busy(f"{folder} is in use by {user}; {remedy}", is_alive=False)
    if not holder.process.is_suspended:
        return Busy(f"{folder} is in use by {holder}; wait for it or stop it first")
    return Busy(
        f"{folder} is in use by {holder}, which is suspended; resume it (kill -CONT "
        f"{holder.process.pid}) or stop it first"
    )


@contextmanager
def _renewed(lease: Lease) -> Iterator[None]:
    stop = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(lease, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()


def _heartbeat(lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):
            if lease.is_held:  # never renews the lock of another process
                os.utime(lease.folder / LOCK / HOLDER)


def _remove(lock: Path) -> None:
    delete(lock.parent, lock, OF_LOCK)
