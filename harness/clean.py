"""`python -m harness.clean [RUNS]`: what caches hold below a folder of runs, and room on disk."""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.command import Parser
from harness.files import (
    STALE_S,
    Busy,
    CannotWrite,
    bury_if_stale,
    is_stale,
    locked,
    read_json,
)
from harness.stopping import INTERRUPTED

KINDS = {
    "dense": "dense trainings; a run that needs one again trains it again, bit for bit",
    "stages": "stages that runs of a sweep share; computed again where they are missing",
    "checkpoints": "of runs that are finished or gone",
    "leftovers": "files that a killed process left half-written",
    "locks": "of processes that are dead",
}
UNFINISHED = "unfinished"
MEANINGS = {**KINDS, UNFINISHED: "checkpoints that runs go on from; never freed"}
CACHES = {"dense": ".dense", "stages": ".stages"}  # two levels above each entry
LOCK = ".lock"
# As write_whole and make_writable name what they have not finished.
HALF_WRITTEN = re.compile(r"\.(.+\.|probe-)[0-9a-f]{8}")
SECONDS_A_DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Entry:
    """What can go as one. home: whose lock says that it is in use; used: unix seconds."""

    kind: str
    path: Path
    home: Path
    size: int  # bytes
    used: float


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _clean(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, CannotWrite) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _clean(options: argparse.Namespace) -> int:
    runs, days = options.runs, options.unused_for
    if not runs.is_dir():
        raise ValueError(f"RUNS={runs} is no folder; name that of all runs, as in runs=PATH")
    if not 0 <= days < float("inf"):
        raise ValueError(f"--unused-for must be a number of days of at least 0, got {days:g}")
    before = time.time() - days * SECONDS_A_DAY
    found = [entry for entry in entries(runs) if entry.used <= before]
    _list(found)
    wanted = KINDS if "all" in options.free else options.free
    going = [entry for entry in found if entry.kind in wanted]
    if going and (options.yes or _agreed(going)):
        _free_all(going)
    return 0


def entries(runs: Path) -> Iterator[Entry]:
    """All that can be freed, and the checkpoints that cannot."""
    for kind, name in CACHES.items():
        for home in (runs / name).glob("*/*"):
            yield Entry(kind, home, home, *_measured(home))
    for folder, below, files in os.walk(runs):
        here = Path(folder)
        if LOCK in below:
            below.remove(LOCK)
            yield from _dead_lock(here / LOCK)
        for name in filter(HALF_WRITTEN.fullmatch, files):
            yield from _leftover(here / name)
        if here.name == "checkpoints" and not _in_a_cache(runs, here):
            yield Entry(_kind(here.parent), here, here.parent, *_measured(here))


def free(entry: Entry) -> None:
    """Removes it, unless a living process works in its home.

    Raises:
        Busy: one does.
    """
    if entry.kind == "locks":
        return bury_if_stale(entry.path)
    if entry.kind == "leftovers":
        return entry.path.unlink(missing_ok=True)
    with locked(entry.home, wait=False):
        _remove(entry.path)
    if entry.path == entry.home:
        # Others may have come in meanwhile, and then it is not empty.
        for folder in (entry.home, entry.home.parent):
            with suppress(OSError):
                folder.rmdir()


def _remove(path: Path) -> None:
    """A file, or a folder with all that is in it but its lock."""
    if not path.is_dir():
        return path.unlink(missing_ok=True)
    for one in path.iterdir():
        if one.name != LOCK:
            _remove(one)
    with suppress(OSError):
        path.rmdir()


def _free_all(going: Sequence[Entry]) -> None:
    freed: list[Entry] = []
    for entry in going:
        try:
            free(entry)
            freed.append(entry)
        except Busy as busy:
            print(f"left: {busy}")
    print(f"freed {len(freed)} entries, {_mib(sum(entry.size for entry in freed))}")


def _agreed(going: Sequence[Entry]) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("--free asks before it removes, and here is nobody to ask; add --yes")
    size = _mib(sum(entry.size for entry in going))
    return input(f"free {len(going)} entries, {size}? [y/N] ").strip().lower() in ("y", "yes")


def _list(found: Sequence[Entry]) -> None:
    for kind, meaning in MEANINGS.items():
        mine = [entry.size for entry in found if entry.kind == kind]
        print(f"{kind:<12}{len(mine):>7}{_mib(sum(mine)):>14}  {meaning}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _measured(folder: Path) -> tuple[int, float]:
    """Bytes, and when it was used last: whoever takes an entry's lock writes into its folder."""
    size, used = 0, 0.0
    with suppress(FileNotFoundError):  # a living process may remove its own
        used = folder.stat().st_mtime
        for one in os.scandir(folder):
            if one.is_dir(follow_symlinks=False):
                more, newer = _measured(Path(one.path))
            else:
                facts = one.stat(follow_symlinks=False)
                more, newer = facts.st_size, facts.st_mtime
            size, used = size + more, max(used, newer)
    return size, used


def _dead_lock(lock: Path) -> Iterator[Entry]:
    if is_stale(lock):
        yield Entry("locks", lock, lock.parent, *_measured(lock))


def _leftover(file: Path) -> Iterator[Entry]:
    folder = file.parent
    home = folder.parent if folder.name == "checkpoints" else folder
    lock = home / LOCK
    facts = file.stat()
    # Where nobody works nothing is being written; a moment's patience for who takes no lock.
    if time.time() - facts.st_mtime > STALE_S and (not lock.exists() or is_stale(lock)):
        yield Entry("leftovers", file, home, facts.st_size, facts.st_mtime)


def _in_a_cache(runs: Path, folder: Path) -> bool:
    return folder.relative_to(runs).parts[0] in CACHES.values()


def _kind(run: Path) -> str:
    """Of its checkpoints."""
    try:
        status = read_json(run / "status.json")
    except ValueError:
        return UNFINISHED
    gone = status is None
    return "checkpoints" if gone or status.get("state") == "finished" else UNFINISHED


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.clean",
        description="Lists what caches hold below a folder of runs; frees what is asked for. "
        "Results stay, and so does what a living process works with.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", nargs="?", type=Path, default=Path("runs"),
        help="folder of all runs (default: runs)",
    )  # fmt: skip
    parser.add_argument(
        "--free", nargs="+", choices=[*KINDS, "all"], default=[], help="what to remove"
    )
    parser.add_argument(
        "--unused-for", metavar="DAYS", type=float, default=0.0,
        help="leave out what was used since so many days",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


if __name__ == "__main__":
    sys.exit(main())
