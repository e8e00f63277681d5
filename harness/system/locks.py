"""A lock that also works on network file systems: a folder that one process makes.

Because mkdir is atomic there, where flock may not be, and where filelock's lease, which takes over
by exchanging two names, never takes over at all. Nobody's clock counts: hosts and file servers need
not agree on the time.
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
# All that a lock holds; also a name that its writer was killed over.
OF_LOCK = (Mark(r"holder\.json"), HALF_WRITTEN)
# Tokens of the locks that this process has: before a restart of its container another process may
# have had the same number.
_mine: set[str] = set()


class Busy(RuntimeError):
    """Another process holds the lock. is_alive: it was seen; one on another host may be dead."""

    def __init__(self, message: str, is_alive: bool = True):
        super().__init__(message, is_alive)
        self.is_alive = is_alive

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[Lease]:
    """Holds folder/.lock: who has it stands there, and is renewed every HEARTBEAT_S seconds.

    A lock is taken over when its process is seen to be gone from this machine. One of another
    host, or without a name, is taken over when it was not renewed for LEASE_S seconds while this
    process looked. A process of this machine that is suspended keeps its lock. Whoever writes into
    the folder meets `check_leases`, so a holder that has lost it stops there.

    Raises:
        Busy: wait is False and the lock is held.
        CannotWrite: it cannot be made; nothing of it stays.
        FileNotFoundError: there is no such folder.
    """
    while (lease := _acquired(folder)) is None:
        if not wait:
            raise _busy(folder)
        time.sleep(POLL_S)
    try:
        with _renewed(lease), guard_writes(lease):
            yield lease
    finally:
        # Where that fails, the next one finds a lock of nobody's.
        with suppress(OSError):
            if lease.is_held:
                _remove(lease.folder / LOCK)
        _mine.discard(lease.token)


def is_held(folder: Path) -> bool:
    """Whether somebody may be at work in the folder, by all that this process has seen of its
    lock."""
    lock = folder / LOCK
    return lock.exists() and not is_stale(lock)


def is_stale(lock: Path) -> bool:
    """Whether nobody holds a lock any more: its process is gone from this machine; or, where nobody
    could see it here, it was not renewed for LEASE_S seconds before the eyes of this process.

    So one look never takes another host's lock for a dead one's. False without a lock. A link is
    no lock of ours.
    """
    if not is_real_folder(lock):
        return False
    holder = read_holder(lock)
    if holder and holder.process.is_local:
        self = holder.process.pid == os.getpid()
        return not holder.process.is_alive or (self and holder.token not in _mine)
    return _unchanged_s(lock) >= LEASE_S


def is_remote_lock(lock: Path) -> bool:
    """Whether only watching it can tell if a lock's holder is dead."""
    holder = read_holder(lock)
    return is_real_folder(lock) and not (holder and holder.process.is_local)


def watch_locks(locks: Iterable[Path]) -> None:
    """Looks at those of the locks that are out of sight until each was renewed, has gone or is
    stale, which takes LEASE_S seconds."""
    left = {lock: _facts(lock) for lock in locks if is_remote_lock(lock)}
    while left := {k: seen for k, seen in left.items() if not is_stale(k) and _facts(k) == seen}:
        time.sleep(POLL_S)


def remove_stale_lock(lock: Path) -> None:
    """Removes a lock that its holder has left behind."""
    if not is_stale(lock):
        return
    # One process at a time looks again and removes: the lock may be a living one's by now.
    turn = lock.with_name(".lock-takeover")
    try:
        turn.mkdir()
    except FileExistsError:
        if _unchanged_s(turn) >= LEASE_S:
            with suppress(OSError):
                turn.rmdir()
        return
    try:
        if is_stale(lock):
            _remove(lock)
    finally:
        turn.rmdir()


@dataclass(frozen=True)
class _Seen:
    facts: tuple[int, ...]
    at_s: float  # of this process's monotonic clock
    unchanged_s: float


_seen: dict[Path, _Seen] = {}


def _unchanged_s(lock: Path) -> float:
    """For how long nothing of a lock has changed before the eyes of this process.

    Between two looks half a lease passes at most, however long it was: a pause of this process or
    of the file server says nothing about the holder.
    """
    now, facts, before = time.monotonic(), _facts(lock), _seen.get(lock)
    if before is None or before.facts != facts:
        unchanged_s = 0.0
    else:
        unchanged_s = before.unchanged_s + min(now - before.at_s, LEASE_S / 2)
    _seen[lock] = _Seen(facts, now, unchanged_s)
    return unchanged_s


def _facts(lock: Path) -> tuple[int, ...]:
    """What every renewal changes. NFS asks its server about what is opened; of what is only looked
    at it may say for a minute what it knew."""
    for path in (lock / HOLDER, lock):
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                found = os.fstat(file)
            finally:
                os.close(file)
            return found.st_ino, found.st_mtime_ns, found.st_ctime_ns
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
    _mine.add(lease.token)
    try:
        write_json(lock / HOLDER, holder.json)
    except BaseException:
        with suppress(OSError):
            _remove(lock)
        _mine.discard(lease.token)
        raise
    return lease


def _busy(folder: Path) -> Busy:
    holder = read_holder(folder / LOCK)
    if holder is None or not holder.process.is_local:
        who, out = holder or "process ? on ?", "wait for it or stop it first"
        return Busy(f"{folder} is in use by {who}; {out}", is_alive=False)
    if not holder.process.is_suspended:
        return Busy(f"{folder} is in use by {holder}; wait for it or stop it first")
    return Busy(
        f"{folder} is in use by {holder}, which is suspended; let it go on (kill -CONT "
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
            if lease.is_held:  # never another's, which would not die then
                os.utime(lease.folder / LOCK / HOLDER)


def _remove(lock: Path) -> None:
    delete(lock.parent, lock, OF_LOCK)
