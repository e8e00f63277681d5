"""Lists and frees what caches and dead processes hold below a folder of runs.

Only files with a mark of the harness (harness/system/deletion.py) are freed, and only in folders
of the harness. An entry of a cache is named by a hash, a run's folder holds identity.json or
status.json, and a lock names its holder. Links are not followed; give the folder itself.
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
from harness.system.leases import LOCK, read_holder

UNFINISHED = "unfinished"  # checkpoints from which a run can resume
CHECKPOINTS = "checkpoints"
# Age in seconds below which a half-written file may be in use by a process that takes no lock.
# Clocks of hosts and file servers may differ by less than this.
PATIENCE_S = 3600.0
HASH = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{22}")  # the cache is two levels above an entry
CACHE = ".cache"  # below the folder of all runs
CACHES = {"dense": deletion.DENSE, "stages": deletion.STAGE}  # its folders


@dataclass(frozen=True)
class CacheEntry:
    """Describes what is freed together: marked files of folders, or a lock or file at `path`.

    Args:
        kind: dense, stages, checkpoints, unfinished, leftovers or locks
        runs: the folder of runs that the user names
        path: the entry itself
        home: the folder whose lock shows that the entry is in use
        size: bytes
        used: time of the last use, in Unix seconds
        parts: folders and the marks of their files
    """

    kind: str
    runs: Path
    path: Path
    home: Path
    size: int
    used: float
    parts: tuple[tuple[Path, deletion.Mark], ...] = ()


def cache_entries(runs: Path) -> Iterator[CacheEntry]:
    """Yields all entries that can be freed, and the checkpoints that cannot."""
    for kind, mark in CACHES.items():
        for home in _entry_folders(runs / CACHE / kind):
            yield from _entry(
                kind, runs, home, [(home / CHECKPOINTS, deletion.CHECKPOINT), (home, mark)]
            )
    for name, below, files in os.walk(runs):  # follows no links
        folder = Path(name)
        if LOCK in below:
            below.remove(LOCK)
            yield from _dead_lock(runs, folder / LOCK)
        for file in files:
            yield from _leftover(runs, folder / file)
        kind = _checkpoints_kind(folder.parent) if folder.name == CHECKPOINTS else ""
        if kind and folder.relative_to(runs).parts[0] != CACHE:
            yield from _entry(kind, runs, folder.parent, [(folder, deletion.CHECKPOINT)])


def unverifiable_locks(runs: Path) -> list[Path]:
    """Returns locks of other hosts; only watching them shows whether their holders are dead."""
    paths = (Path(folder) / LOCK for folder, below, _ in os.walk(runs) if LOCK in below)
    return [lock for lock in paths if locks.is_remote_lock(lock)]


def free(entry: CacheEntry) -> None:
    """Removes an entry, unless a living process uses its folder.

    Raises:
        Busy: a living process uses the folder.
        OSError: the system refuses the removal, or a folder has become a link.
    """
    with deletion.open_folder(entry.runs, entry.home):
        if entry.kind == "locks":
            locks.remove_stale_lock(entry.path)
            if locks.is_held(entry.home):
                raise locks.Busy(f"{entry.home} is in use again")
            return
        if entry.kind == "leftovers":
            return deletion.delete_file(entry.runs, entry.path, [deletion.HALF_WRITTEN])
        with locks.locked(entry.home, wait=False):
            for folder, mark in entry.parts:
                deletion.delete(entry.runs, folder, [mark, deletion.HALF_WRITTEN])
        if entry.kind in CACHES:
            # Not empty if another process has written into the folder meanwhile.
            deletion.delete_empty(entry.runs, entry.home)
            deletion.delete_empty(entry.runs, entry.home.parent)


def _entry_folders(cache: Path) -> Iterator[Path]:
    """Yields the folders of a cache that are named by a hash, as "12/1234...", and readable."""
    for first in _real_folders(cache) if deletion.is_real_folder(cache.parent) else ():
        for home in _real_folders(first):
            if HASH.fullmatch(f"{first.name}/{home.name}"):
                yield home


def _real_folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        if deletion.is_real_folder(folder):
            return [path for path in sorted(folder.iterdir()) if deletion.is_real_folder(path)]
    return []


def _entry(
    kind: str, runs: Path, home: Path, parts: Sequence[tuple[Path, deletion.Mark]]
) -> Iterator[CacheEntry]:
    """Yields the entry of a folder, unless the folder holds no file of the harness but others."""
    files = [
        file
        for folder, mark in parts
        for file in deletion.owned_files(runs, folder, [mark, deletion.HALF_WRITTEN])
    ]
    with suppress(OSError):  # a living process may remove its own files
        if files or not any(home.iterdir()):
            size = sum(file.size for file in files)
            # Taking the lock of an entry changes the time of its folder.
            used = max([home.stat().st_mtime, *(file.changed for file in files)])
            yield CacheEntry(kind, runs, home, home, size, used, tuple(parts))


def _dead_lock(runs: Path, lock: Path) -> Iterator[CacheEntry]:
    if read_holder(lock) and locks.is_stale(lock):
        size = sum(file.size for file in deletion.owned_files(runs, lock, locks.OF_LOCK))
        yield CacheEntry("locks", runs, lock, lock.parent, size, lock.stat().st_mtime)


def _leftover(runs: Path, file: Path) -> Iterator[CacheEntry]:
    if not deletion.HALF_WRITTEN.is_on(file.name, b"") or file.is_symlink():
        return
    folder = file.parent
    home = folder.parent if folder.name == CHECKPOINTS else folder
    facts = file.stat()
    # Without a lock on the folder no process writes into it.
    if time.time() - facts.st_mtime > PATIENCE_S and not locks.is_held(home):
        yield CacheEntry("leftovers", runs, file, home, facts.st_size, facts.st_mtime)


def _checkpoints_kind(run: Path) -> str:
    """Returns the kind of a run's checkpoints, or "" if the folder is not that of a run."""
    identity, status = (_json_object(run / name) for name in ("identity.json", "status.json"))
    if status is None or identity is None:  # damaged
        return UNFINISHED
    if "hashed_config" not in identity and "state" not in status:
        return ""
    return "checkpoints" if status.get("state", "finished") == "finished" else UNFINISHED


def _json_object(file: Path) -> dict[str, Any] | None:
    """Returns the JSON object of a file: {} if there is no file, None if the file is damaged."""
    try:
        value = read_json(file)
    except (ValueError, OSError):
        return None
    return {} if value is None else value if isinstance(value, dict) else None
