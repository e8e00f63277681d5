"""Runs `pruning-harness clean [RUNS]`, which lists what caches hold, and frees disk space."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.launch.caches import UNFINISHED, CacheEntry, cache_entries, free, unverifiable_locks
from harness.system.atomic_files import CannotWrite
from harness.system.command_line import Parser, run_command
from harness.system.locks import LEASE_S, Busy, watch_locks
from harness.system.names import printable

KINDS = {
    "dense": "dense trainings; a run that needs a freed one trains it again, bit for bit",
    "stages": "stages that runs of a sweep share; recomputed where they are missing",
    "checkpoints": "checkpoints of runs that are finished or gone",
    "leftovers": "half-written files of killed processes",
    "locks": "locks of dead processes",
}
MEANINGS = {
    **KINDS,
    UNFINISHED: "checkpoints of unfinished runs, which resume from them; never freed",
}
SECONDS_A_DAY = 24 * 60 * 60


def main(arguments: Sequence[str]) -> int:
    """Returns 0, 1 if the disk cannot be written to, 2 for wrong input, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _clean(options), CannotWrite)


def _clean(options: argparse.Namespace) -> int:
    runs, days = options.runs, options.unused_for
    if not runs.is_dir():
        raise ValueError(
            f"RUNS={runs} is no folder; give the folder of all runs, as in output_dir=PATH"
        )
    if not 0 <= days < float("inf"):
        raise ValueError(f"--unused-for must be a number of days >= 0, got {days:g}")
    if options.free and (locks := unverifiable_locks(runs)):
        # A dead holder on another host is recognised only by a lock that is not renewed.
        print(f"watching {len(locks)} locks of other hosts, {LEASE_S:g} s at most", flush=True)
        watch_locks(locks)
    before = time.time() - days * SECONDS_A_DAY
    entries = [entry for entry in cache_entries(runs) if entry.used <= before]
    _list(entries)
    kinds = KINDS if "all" in options.free else options.free
    to_free = [entry for entry in entries if entry.kind in kinds]
    if to_free and (options.yes or _confirmed(to_free)):
        _free_all(to_free)
    return 0


def _free_all(entries: Sequence[CacheEntry]) -> None:
    freed: list[CacheEntry] = []
    for entry in entries:
        try:
            free(entry)
            freed.append(entry)
        except (Busy, CannotWrite, OSError) as error:
            print(f"left: {printable(str(error))}")
    print(f"freed {len(freed)} entries, {_mib(sum(entry.size for entry in freed))}")


def _confirmed(entries: Sequence[CacheEntry]) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("--free needs a confirmation, and stdin is no terminal; add --yes")
    size = _mib(sum(entry.size for entry in entries))
    return input(f"free {len(entries)} entries, {size}? [y/N] ").strip().lower() in ("y", "yes")


def _list(entries: Sequence[CacheEntry]) -> None:
    for kind, meaning in MEANINGS.items():
        sizes = [entry.size for entry in entries if entry.kind == kind]
        print(f"{kind:<12}{len(sizes):>7}{_mib(sum(sizes)):>14}  {meaning}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _parser() -> Parser:
    parser = Parser(
        prog="pruning-harness clean",
        description="Lists what caches hold below a folder of runs, and frees the kinds that "
        "--free names. Never removed are results, files that a living process uses, files that "
        "the harness has not made, and whatever is behind a link.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", nargs="?", type=Path, default=Path("runs"),
        help="folder of all runs (default: runs)",
    )  # fmt: skip
    parser.add_argument(
        "--free", nargs="+", choices=[*KINDS, "all"], default=[], help="kinds to remove"
    )
    parser.add_argument(
        "--unused-for", metavar="DAYS", type=float, default=0.0,
        help="only what was not used for so many days",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="remove without a confirmation")
    return parser
