"""pruning-harness status RUNS: runs that are done, at work (where), failed (why), missing."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.run_folder.overview import STATES, RunsStatus, RunStatus, scan, seconds_left
from harness.run_folder.progress_file import RunProgress, format_duration
from harness.system.command_line import Parser, print_text
from harness.system.names import visible

SECONDS_BETWEEN = 2.0
TOLD = ("running", "failed", "interrupted", "missing")  # those that are not done, in this order


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0, 1 if a run has failed, 2 wrong input. Ctrl-C is how one leaves a view that
    changes: it interrupts no work, so the status is the one of what was shown."""
    options = _parser().parse_args(arguments)
    try:
        found = scan(options.runs)
        if sys.stdout.isatty() and not options.once:
            found = _follow(options.runs, found)
        else:
            print_text("\n".join(lines(found)))
    except (ValueError, OSError) as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        return 0
    return int(found.has_failed)


def lines(runs: RunsStatus) -> list[str]:
    """Counts first; then every run that is not done."""
    found = runs.runs
    counts = Counter(each.state for each in found)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES)
    left = seconds_left(found)
    about = "" if left is None else f"; about {format_duration(left)} left"
    told = [each for state in TOLD for each in found if each.state == state]
    return [f"{len(found)} runs: {said}{about}", *map(_line, told)]


def _line(each: RunStatus) -> str:
    why = f": {each.reason}" if each.reason else ""
    where = f"  {_where(each.position)}" if each.position else ""
    log = f" (see {each.log})" if each.log else ""
    return "  " + visible(f"{each.state}: {each.says}{where}{why}{log}")


def _where(at: RunProgress) -> str:
    parts = [f"level {at.level}/{at.levels}"]
    if at.epochs:  # else no epoch has ended yet
        parts.append(f"epoch {at.epoch}/{at.epochs}")
    if at.accuracy is not None:
        parts.append(f"validation {100 * at.accuracy:.2f} %")
    left = at.seconds_left(time.time())
    return "  ".join(parts + ([] if left is None else [f"about {format_duration(left)} left"]))


def _follow(folder: Path, found: RunsStatus) -> RunsStatus:
    """Shows it anew until nothing runs and nothing is awaited, or Ctrl-C."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=sys.stdout)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(Text("\n".join(_fitting(lines(found)))), refresh=True)
                if not found.is_active:
                    return found
                time.sleep(SECONDS_BETWEEN)
                found = scan(folder)
    except KeyboardInterrupt:
        return found


def _fitting(told: list[str]) -> list[str]:
    """As many lines as the terminal has room for."""
    room = shutil.get_terminal_size().lines - 2
    if len(told) <= room:
        return told
    return [*told[: room - 1], f"  and {len(told) - room + 1} more; --once lists them all"]


def _parser() -> Parser:
    parser = Parser(
        prog="pruning-harness status",
        description="Which runs are done, running (where, how long still), failed (why), "
        "interrupted, missing. On a terminal it follows them until nothing runs any more.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", type=Path, help="folder of a run, of a sweep or of all runs"
    )
    parser.add_argument("--once", action="store_true", help="print it and leave")
    return parser
