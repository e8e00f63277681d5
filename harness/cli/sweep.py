"""`pruning-harness sweep plan|run|status|retry`: sweeps whose points others start, as jobs do."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import run, status
from harness.system import signals
from harness.system.command_line import Parser
from harness.system.names import visible

if TYPE_CHECKING:
    from harness.launch.sweeps.plan import Plan

PLAN = """\
Writes the plan of a sweep without running it, and prints its path. Arguments are those of
`pruning-harness -m`: sweep=survey seed=0,1"""
RUN = """\
Carries out points of a plan in this process, one after the other; finished ones are skipped.
Jobs of an array take a part each: --part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"""
STATUS = "What became of every point, as pruning-harness status --once says it."
TRUST = "module that a plan which you have not made may build, beside the harness's own parts"
RETRY = "Starts those points of a sweep again that have failed, as the sweep was started."


def main(arguments: Sequence[str]) -> int:
    """Returns 0 done, 1 a point failed, 2 wrong input; 130 or 75 stopped by a signal."""
    signals.leave_on_signals()
    given = list(arguments)
    # Options after `plan` are Hydra's, as --config-dir.
    said = given[1:] if given[:1] == ["plan"] and not {"-h", "--help"} & set(given) else []
    asked = _parser().parse_args(given[: len(given) - len(said)])
    asked.overrides = said
    try:
        return int(asked.work(asked))
    except signals.Stopped as stopped:
        print(f"harness: {stopped.line}", file=sys.stderr)
        return stopped.status
    except ValueError as error:
        print(f"harness: {visible(str(error))}", file=sys.stderr)
        return 2


def _parser() -> Parser:
    parser = Parser(prog="pruning-harness sweep", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="plan|run|status|retry")
    plan = commands.add_parser("plan", description=PLAN, help="write a plan, run nothing")
    plan.usage = "%(prog)s [KEY=VALUE ...]"
    plan.set_defaults(work=_plan)
    part = commands.add_parser("run", description=RUN, help="carry out points of a plan")
    part.add_argument("plan", type=Path, help="file that `plan` has written")
    part.add_argument("--part", default="0/1", help="I/N: points I, I + N, ..., counted from 0")
    part.add_argument("--dense", action="store_true", help="only dense trainings, for their cache")
    _add_trust(part)
    part.set_defaults(work=_run)
    for name, work, text in (("status", _status, STATUS), ("retry", _retry, RETRY)):
        command = commands.add_parser(name, description=text, help=text)
        command.add_argument("folder", type=Path, help="of the sweep, as runs/survey")
        command.set_defaults(work=work)
        if name == "retry":
            _add_trust(command)
    return parser


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE", help=TRUST)


def _plan(asked: argparse.Namespace) -> int:
    return run.main(["-m", *asked.overrides, "launch.only=plan"])


def _run(asked: argparse.Namespace) -> int:
    from harness.launch.sweeps.array_task import carry_out

    signals.stop_on_signals()
    return carry_out(asked.plan, asked.part, asked.dense, asked.trust)


def _status(asked: argparse.Namespace) -> int:
    return status.main([str(asked.folder), "--once"])


def _retry(asked: argparse.Namespace) -> int:
    from harness.launch.sweeps.failed_plans import failed_plans

    plans = failed_plans(asked.folder, asked.trust)
    for plan in plans:
        plan.check_home()
    if not plans:
        print(f"no point of {asked.folder} has failed")
    return max((_again(plan) for plan in plans), default=0)


def _again(plan: "Plan") -> int:
    """Exit status of the command that made the plan, for its points that have failed.

    In this process: a signal then stops it as it would stop that command. The command of a plan
    that this user has not made is somebody else's: its points are carried out here, one by one.
    """
    if not plan.own:
        from harness.launch.sweeps.array_task import one_by_one
        from harness.launch.sweeps.failed_plans import has_failed

        signals.stop_on_signals()
        return one_by_one([point for point in plan.points if has_failed(point)])
    function = "analyse" if plan.points[0].point.command == "analyse" else "run"
    try:
        return run.main([*plan.argv, "launch.only=failed"], function)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
        if code in (signals.INTERRUPTED, signals.TRY_AGAIN):
            raise
        return code
