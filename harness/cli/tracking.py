"""`pruning-harness tracking`: what there is to do about W&B when the runs are done."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.system.command_line import Parser, run_command
from harness.tracking.report import send, sweeps
from harness.tracking.sync import NoServer, OfflineRun, offline_runs, sync

LIMIT_S = 600.0


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    return run_command(lambda: options.work(options), NoServer)


def _sync(options: argparse.Namespace) -> int:
    """Uploads what W&B has kept offline below RUNS and has not uploaded yet; the folders of one
    W&B run in their order."""
    if not options.limit > 0:
        raise ValueError(f"--limit must be above 0 seconds, got {options.limit:g}")
    found = _ready(offline_runs(options.runs))
    if not found:
        print(f"nothing to upload below {options.runs}")
        return 0
    if options.dry_run:
        _show(found)
        return 0
    failed = sync(found, options.project, options.entity, options.limit)
    if failed:
        print(f"not uploaded: {', '.join(failed)}; the same command tries again", file=sys.stderr)
    return 1 if failed else 0


def _ready(found: Sequence[OfflineRun]) -> list[OfflineRun]:
    ready = [one for one in found if not one.is_running]
    if busy := len(found) - len(ready):
        print(f"left for later: {busy} of {len(found)} W&B runs, which are at work")
    return ready


def _report(options: argparse.Namespace) -> int:
    """Makes a report at W&B over the uploaded runs of the sweeps below RUNS, grouped by method;
    prints its address."""
    print(send(options.project, options.entity, sweeps(options.runs)))
    return 0


def _show(found: Sequence[OfflineRun]) -> None:
    for one in found:
        print(f"would upload {one.id}:")
        for folder in one.folders:
            print(f"  {folder}")


def _parser() -> Parser:
    parser = Parser(prog="pruning-harness tracking", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, work: Callable[[argparse.Namespace], int], brief: str) -> Parser:
        added = commands.add_parser(name, help=brief, description=work.__doc__)
        added.set_defaults(work=work)
        added.add_argument("runs", metavar="RUNS", type=Path, help="folder of runs, at any depth")
        added.add_argument("--entity", help="user or team (default: of the runs or the account)")
        return added

    upload = command("sync", _sync, "upload what W&B has kept offline")
    upload.add_argument("--project", help="into this project (default: the one of the runs)")
    upload.add_argument("--dry-run", action="store_true", help="only say what would be uploaded")
    upload.add_argument(
        "--limit", metavar="SECONDS", type=float, default=LIMIT_S, help="per W&B run (600)"
    )
    made = command("report", _report, "make a report at W&B")
    made.add_argument("--project", required=True, help="where the runs are at W&B")
    return parser
