"""What caches and dead processes hold below a folder of runs, and freeing it.

Only files that carry our mark (harness/system/deletion.py) in folders that carry it too: an entry
of a cache is named by a hash, a run's folder holds its identity.json or status.json, a lock says
whose it is. Links are passed over; whoever keeps runs behind one names the folder that it points
to.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.system import deletion, locks
from harness.system.atomic_files import read_json
from harness.system.leases import LOCK, holder_of

UNFINISHED = "unfinished"  # checkpoints that a run goes on from
CHECKPOINTS = "checkpoints"
# Seconds for which a half-written file may belong to somebody who takes no lock; so many that
# clocks of hosts and file servers may differ.
PATIENCE_S = 3600.0
HASH = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{22}")  # two levels above each entry lies its cache
CACHE = ".cache"  # below the folder of all results
CACHES = {"dense": deletion.DENSE, "stages": deletion.STAGE}  # its folders


@dataclass(frozen=True)
class CacheEntry:
    """What can go as one: files by folder and mark, or a lock or a single file at `path`.

    runs: the folder that the user has named. home: whose lock says that it is in use. used: unix
    seconds.
    """

    kind: str
    runs: Path
    path: Path
    home: Path
    size: int  # bytes
    used: float
    parts: tuple[tuple[Path, deletion.Mark], ...] = ()


def cache_entries(runs: Path) -> Iterator[CacheEntry]:
    """All that can be freed, and the checkpoints that cannot."""
    for kind, mark in CACHES.items():
        for home in _entry_folders(runs / CACHE / kind):
            yield from _entry(
                kind, runs, home, [(home / CHECKPOINTS, deletion.CHECKPOINT), (home, mark)]
            )
    for folder, below, files in os.walk(runs):  # which follows no links
        here = Path(folder)
        if LOCK in below:
            below.remove(LOCK)
            yield from _dead_lock(runs, here / LOCK)
        for name in files:
            yield from _leftover(runs, here / name)
        kind = _checkpoints_kind(here.parent) if here.name == CHECKPOINTS else ""
        if kind and here.relative_to(runs).parts[0] != CACHE:
            yield from _entry(kind, runs, here.parent, [(here, deletion.CHECKPOINT)])


def unverifiable_locks(runs: Path) -> list[Path]:
    """Those of which only watching can tell whether their holders are dead."""
    every = (Path(folder) / LOCK for folder, below, _ in os.walk(runs) if LOCK in below)
    return [lock for lock in every if locks.is_out_of_sight(lock)]


def free(entry: CacheEntry) -> None:
    """Removes it, unless a living process works in its home.

    Raises:
        Busy: one does.
        OSError: the system refuses it, or there is a link where a folder was.
    """
    with deletion.opened(entry.runs, entry.home):
        if entry.kind == "locks":
            locks.bury_if_stale(entry.path)
            if locks.is_held(entry.home):
                raise locks.Busy(f"{entry.home} is in use again")
            return
        if entry.kind == "leftovers":
            return deletion.delete_file(entry.runs, entry.path, [deletion.HALF_WRITTEN])
        with locks.locked(entry.home, wait=False):
            for folder, mark in entry.parts:
                deletion.delete(entry.runs, folder, [mark, deletion.HALF_WRITTEN])
        if entry.kind in CACHES:
            # Others may have come in meanwhile, and then it is not empty.
            deletion.delete_empty(entry.runs, entry.home)
            deletion.delete_empty(entry.runs, entry.home.parent)


def _entry_folders(cache: Path) -> Iterator[Path]:
    """Folders named by a hash, as "12/1234..."; an unreadable one is nobody's."""
    for first in _real_folders(cache) if deletion.is_real_folder(cache.parent) else ():
        for home in _real_folders(first):
            if HASH.fullmatch(f"{first.name}/{home.name}"):
                yield home


def _real_folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        if deletion.is_real_folder(folder):
            return [one for one in sorted(folder.iterdir()) if deletion.is_real_folder(one)]
    return []


def _entry(
    kind: str, runs: Path, home: Path, parts: Sequence[tuple[Path, deletion.Mark]]
) -> Iterator[CacheEntry]:
    """Of the files that are there; none of a folder that holds other files only."""
    found = [
        one
        for folder, mark in parts
        for one in deletion.owned(runs, folder, [mark, deletion.HALF_WRITTEN])
    ]
    with suppress(OSError):  # a living process may remove its own
        if found or not any(home.iterdir()):
            size = sum(one.size for one in found)
            # Whoever takes an entry's lock writes into its folder.
            used = max([home.stat().st_mtime, *(one.changed for one in found)])
            yield CacheEntry(kind, runs, home, home, size, used, tuple(parts))


def _dead_lock(runs: Path, lock: Path) -> Iterator[CacheEntry]:
    if holder_of(lock) and locks.is_stale(lock):
        size = sum(one.size for one in deletion.owned(runs, lock, locks.OF_LOCK))
        yield CacheEntry("locks", runs, lock, lock.parent, size, lock.stat().st_mtime)


def _leftover(runs: Path, file: Path) -> Iterator[CacheEntry]:
    if not deletion.HALF_WRITTEN.is_on(file.name, b"") or file.is_symlink():
        return
    folder = file.parent
    home = folder.parent if folder.name == CHECKPOINTS else folder
    facts = file.stat()
    # Where nobody works nothing is being written.
    if time.time() - facts.st_mtime > PATIENCE_S and not locks.is_held(home):
        yield CacheEntry("leftovers", runs, file, home, facts.st_size, facts.st_mtime)


def _checkpoints_kind(run: Path) -> str:
    """Of its checkpoints; empty where it is no run's folder."""
    identity, status = (_json_object(run / name) for name in ("identity.json", "status.json"))
    if status is None or identity is None:  # damaged
        return UNFINISHED
    if "hashed_config" not in identity and "state" not in status:
        return ""
    return "checkpoints" if status.get("state", "finished") == "finished" else UNFINISHED


def _json_object(file: Path) -> dict[str, Any] | None:
    """Empty if there is none, None if it is damaged."""
    try:
        found = read_json(file)
    except (ValueError, OSError):
        return None
    return {} if found is None else found if isinstance(found, dict) else None
