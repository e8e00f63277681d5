"""Handles `pruning-harness sweep plan|run|status|retry`: sweeps whose runs jobs of yours start."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import run, status
from harness.system import signals
from harness.system.command_line import Parser
from harness.system.names import printable

if TYPE_CHECKING:
    from harness.launch.sweeps.plan import Plan

PLAN = """\
Writes the plan of a sweep without running it, and prints the plan's path. The arguments are those
of `pruning-harness -m`: sweep=survey seed=0,1"""
RUN = """\
Executes runs of a plan in this process, one after the other. Finished runs are skipped. Each job of
an array executes one part: --part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"""
STATUS = "Lists the runs of a sweep, as `pruning-harness status --once` does."
TRUST = "module from which a plan of somebody else may build parts, beside the harness's own"
RETRY = "Starts the failed runs of a sweep again, in the way in which the sweep was started."


def main(arguments: Sequence[str]) -> int:
    """Returns 0, 1 if a run failed, 2 for wrong input, 130 or 75 if a signal stopped it."""
    signals.exit_on_signals()
    words = list(arguments)
    # Hydra reads all options after `plan`, such as --config-dir.
    overrides = words[1:] if words[:1] == ["plan"] and not {"-h", "--help"} & set(words) else []
    options = _parser().parse_args(words[: len(words) - len(overrides)])
    options.overrides = overrides
    try:
        return int(options.work(options))
    except signals.Stopped as stopped:
        print(f"harness: {stopped.line}", file=sys.stderr)
        return stopped.status
    except ValueError as error:
        print(f"harness: {printable(str(error))}", file=sys.stderr)
        return 2


def _parser() -> Parser:
    parser = Parser(prog="pruning-harness sweep", description="Plans and executes sweeps.")
    commands = parser.add_subparsers(required=True, metavar="plan|run|status|retry")
    plan = commands.add_parser("plan", description=PLAN, help="write a plan, run nothing")
    plan.usage = "%(prog)s [KEY=VALUE ...]"
    plan.set_defaults(work=_plan)
    part = commands.add_parser("run", description=RUN, help="execute runs of a plan")
    part.add_argument("plan", type=Path, help="file that `sweep plan` wrote")
    part.add_argument("--part", default="0/1", help="I/N: runs I, I + N, ..., counted from 0")
    part.add_argument(
        "--dense", action="store_true", help="train the dense models only, for the cache"
    )
    _add_trust(part)
    part.set_defaults(work=_run)
    for name, work, text in (("status", _status, STATUS), ("retry", _retry, RETRY)):
        command = commands.add_parser(name, description=text, help=text)
        command.add_argument("folder", type=Path, help="folder of the sweep, such as runs/survey")
        command.set_defaults(work=work)
        if name == "retry":
            _add_trust(command)
    return parser


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE", help=TRUST)


def _plan(options: argparse.Namespace) -> int:
    return run.main(["-m", *options.overrides, "launch.action=plan"])


def _run(options: argparse.Namespace) -> int:
    from harness.launch.sweeps.array_task import run_array_task

    signals.stop_on_signals()
    return run_array_task(options.plan, options.part, options.dense, options.trust)


def _status(options: argparse.Namespace) -> int:
    return status.main([str(options.folder), "--once"])


def _retry(options: argparse.Namespace) -> int:
    from harness.launch.sweeps.failed_plans import failed_plans

    plans = failed_plans(options.folder, options.trust)
    for plan in plans:
        plan.check_home()
    if not plans:
        print(f"no run of {options.folder} has failed")
    return max((_retry_plan(plan) for plan in plans), default=0)


def _retry_plan(plan: "Plan") -> int:
    """Executes the failed runs of a plan and returns the exit status.

    The command that made the plan runs again in this process, so that signals stop it as usual.
    The command of a plan that this user has not made is not run: its runs are executed here, one
    by one.
    """
    if not plan.own:
        from harness.launch.sweeps.array_task import run_one_by_one
        from harness.launch.sweeps.failed_plans import has_failed

        signals.stop_on_signals()
        return run_one_by_one([run for run in plan.runs if has_failed(run)])
    function = "analyse" if plan.runs[0].spec.command == "analyse" else "run"
    try:
        return run.main([*plan.argv, "launch.action=retry_failed"], function)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
        if code in (signals.INTERRUPTED, signals.TRY_AGAIN):
            raise
        return code
