"""`pruning-harness clean [RUNS]`: what caches hold below a folder of runs, and room on disk."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.launch.caches import UNFINISHED, CacheEntry, cache_entries, free, unverifiable_locks
from harness.system.atomic_files import CannotWrite
from harness.system.command_line import Parser, run_command
from harness.system.locks import LEASE_S, Busy, watch
from harness.system.names import visible

KINDS = {
    "dense": "dense trainings; a run that needs one again trains it again, bit for bit",
    "stages": "stages that runs of a sweep share; computed again where they are missing",
    "checkpoints": "of runs that are finished or gone",
    "leftovers": "files that a killed process left half-written",
    "locks": "of processes that are dead",
}
MEANINGS = {**KINDS, UNFINISHED: "checkpoints that runs go on from; never freed"}
SECONDS_A_DAY = 24 * 60 * 60


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    return run_command(lambda: _clean(options), CannotWrite)


def _clean(options: argparse.Namespace) -> int:
    runs, days = options.runs, options.unused_for
    if not runs.is_dir():
        raise ValueError(f"RUNS={runs} is no folder; name that of all runs, as in runs=PATH")
    if not 0 <= days < float("inf"):
        raise ValueError(f"--unused-for must be a number of days of at least 0, got {days:g}")
    if options.free and (locks := unverifiable_locks(runs)):
        # One look at a lock of another host does not tell a dead holder from a living one.
        print(f"watching {len(locks)} locks of other hosts, {LEASE_S:g} s at most", flush=True)
        watch(locks)
    before = time.time() - days * SECONDS_A_DAY
    found = [entry for entry in cache_entries(runs) if entry.used <= before]
    _list(found)
    wanted = KINDS if "all" in options.free else options.free
    going = [entry for entry in found if entry.kind in wanted]
    if going and (options.yes or _agreed(going)):
        _free_all(going)
    return 0


def _free_all(going: Sequence[CacheEntry]) -> None:
    freed: list[CacheEntry] = []
    for entry in going:
        try:
            free(entry)
            freed.append(entry)
        except (Busy, CannotWrite, OSError) as why:
            print(f"left: {visible(str(why))}")
    print(f"freed {len(freed)} entries, {_mib(sum(entry.size for entry in freed))}")


def _agreed(going: Sequence[CacheEntry]) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("--free asks before it removes, and here is nobody to ask; add --yes")
    size = _mib(sum(entry.size for entry in going))
    return input(f"free {len(going)} entries, {size}? [y/N] ").strip().lower() in ("y", "yes")


def _list(found: Sequence[CacheEntry]) -> None:
    for kind, meaning in MEANINGS.items():
        mine = [entry.size for entry in found if entry.kind == kind]
        print(f"{kind:<12}{len(mine):>7}{_mib(sum(mine)):>14}  {meaning}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _parser() -> Parser:
    parser = Parser(
        prog="pruning-harness clean",
        description="Lists what caches hold below a folder of runs; frees what is asked for. "
        "Results stay, and so do what a living process works with, files that the harness has "
        "not made, and all that lies behind links.",
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
