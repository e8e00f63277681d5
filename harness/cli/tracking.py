"""Runs `pruning-harness tracking sync|report`, which upload offline runs and a report to W&B."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.system.command_line import Parser, run_command
from harness.tracking.report import send, sweeps
from harness.tracking.speed import names_below
from harness.tracking.sync import NoServer, OfflineRun, offline_runs, sync

LIMIT_S = 600.0


def main(arguments: Sequence[str]) -> int:
    """Returns 0, 1 if an upload failed, 2 for wrong input, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: options.work(options), NoServer)


def _sync(options: argparse.Namespace) -> int:
    """Uploads the offline data of W&B below RUNS that are not uploaded yet.

    Folders of one W&B run are uploaded in their order.
    """
    if not options.limit > 0:
        raise ValueError(f"--limit must be above 0 seconds, got {options.limit:g}")
    runs = _finished(offline_runs(options.runs))
    if not runs:
        print(f"nothing to upload below {options.runs}")
        return 0
    if options.dry_run:
        _show(runs)
        return 0
    failed = sync(runs, options.project, options.entity, options.limit)
    if failed:
        names = ", ".join(failed)
        print(f"harness: not uploaded: {names}; the same command tries again", file=sys.stderr)
    return 1 if failed else 0


def _finished(runs: Sequence[OfflineRun]) -> list[OfflineRun]:
    finished = [run for run in runs if not run.is_running]
    if running := len(runs) - len(finished):
        print(f"left for later: {running} of {len(runs)} W&B runs, which are running")
    return finished


def _report(options: argparse.Namespace) -> int:
    """Makes a report at W&B over the uploaded runs of the sweeps below RUNS, grouped by method.

    The address of the report is printed.
    """
    groups, speeds = sweeps(options.runs), names_below(options.runs)
    print(send(options.project, options.entity, groups, speeds))
    return 0


def _show(runs: Sequence[OfflineRun]) -> None:
    for run in runs:
        print(f"would upload {run.id}:")
        for folder in run.folders:
            print(f"  {folder}")


def _parser() -> Parser:
    about = "Uploads offline runs and makes a report at W&B."
    parser = Parser(prog="pruning-harness tracking", description=about)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, work: Callable[[argparse.Namespace], int], brief: str) -> Parser:
        added = commands.add_parser(name, help=brief, description=work.__doc__)
        added.set_defaults(work=work)
        added.add_argument("runs", metavar="RUNS", type=Path, help="folder of runs, at any depth")
        added.add_argument(
            "--entity", help="user or team (default: that of the runs or the account)"
        )
        return added

    upload = command("sync", _sync, "upload the offline data of W&B")
    upload.add_argument("--project", help="project to upload to (default: that of the runs)")
    upload.add_argument("--dry-run", action="store_true", help="only list what would be uploaded")
    upload.add_argument(
        "--limit",
        metavar="SECONDS",
        type=float,
        default=LIMIT_S,
        help="time limit of a W&B run (default: 600)",
    )
    made = command("report", _report, "make a report at W&B")
    made.add_argument("--project", required=True, help="project of the runs at W&B")
    return parser
