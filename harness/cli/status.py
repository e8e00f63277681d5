"""Prints `pruning-harness status RUNS`: which runs are done, running, failed (why), missing."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.run_folder.overview import STATES, RunsStatus, RunStatus, scan, seconds_left
from harness.run_folder.progress_file import RunProgress, format_duration
from harness.system.command_line import Parser, print_text
from harness.system.names import printable
from harness.task.shared.measures import validation_text

SECONDS_BETWEEN = 2.0
LISTED = ("running", "failed", "interrupted", "missing")  # one by one, in this order


def main(arguments: Sequence[str]) -> int:
    """Returns 1 if a run has failed, 2 for wrong input, else 0.

    Ctrl-C ends the live view without interrupting a run, and does not change the status.
    """
    options = _parser().parse_args(arguments)
    try:
        runs = scan(options.runs)
        if sys.stdout.isatty() and not options.once:
            runs = _follow(options.runs, runs)
        else:
            print_text("\n".join(lines(runs)))
    except (ValueError, OSError) as error:
        print(f"harness: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        return 0
    return int(runs.has_failed)


def lines(runs: RunsStatus) -> list[str]:
    """Returns a line of counts, then a line for every run that is not done."""
    counts = Counter(run.state for run in runs.runs)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES)
    left = seconds_left(runs.runs)
    about = "" if left is None else f"; about {format_duration(left)} left"
    listed = [run for state in LISTED for run in runs.runs if run.state == state]
    return [f"{len(runs.runs)} runs: {states}{about}", *map(_line, listed)]


def _line(run: RunStatus) -> str:
    reason = f": {run.reason}" if run.reason else ""
    progress = f"  {_progress(run.progress)}" if run.progress else ""
    log = f" (see {run.log})" if run.log else ""
    return "  " + printable(f"{run.state}: {run.label}{progress}{reason}{log}")


def _progress(run: RunProgress) -> str:
    parts = [f"level {run.level}/{run.levels}"]
    if run.epochs:  # 0 until the first epoch has ended
        parts.append(f"epoch {run.epoch}/{run.epochs}")
    if run.value is not None:
        parts.append(f"validation {validation_text(run.measure, run.value)}")
    left = run.seconds_left(time.time())
    return "  ".join(parts + ([] if left is None else [f"about {format_duration(left)} left"]))


def _follow(folder: Path, runs: RunsStatus) -> RunsStatus:
    """Updates the view until no run is active, or Ctrl-C; returns the last status."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=sys.stdout)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(Text("\n".join(_fit_terminal(lines(runs)))), refresh=True)
                if not runs.is_active:
                    return runs
                time.sleep(SECONDS_BETWEEN)
                runs = scan(folder)
    except KeyboardInterrupt:
        return runs


def _fit_terminal(text: list[str]) -> list[str]:
    room = shutil.get_terminal_size().lines - 2
    if len(text) <= room:
        return text
    return [*text[: room - 1], f"  and {len(text) - room + 1} more; --once lists them all"]


def _parser() -> Parser:
    parser = Parser(
        prog="pruning-harness status",
        description="Lists which runs are done, running (level, epoch, time left), failed (why), "
        "interrupted or missing. On a terminal the list is updated until no run is active.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", type=Path, help="folder of a run, of a sweep or of all runs"
    )
    parser.add_argument("--once", action="store_true", help="print the list once and exit")
    return parser
