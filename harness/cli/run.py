"""`pruning-harness [run] [KEY=VALUE ...]`: one run; with -m a sweep over comma-separated values."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from harness.launch.backends.rank_env import export_torchrun_env, launcher_name
from harness.system.signals import (
    INTERRUPTED,
    Stopped,
    is_rank_zero,
    leave_on_signals,
    stop_on_signals,
)

TRACEBACK = "HYDRA_FULL_ERROR"  # set by the user: errors keep their traceback


def main(arguments: Sequence[str], function: str = "run") -> int:
    """Runs a function of harness/cli/hydra_main.py with these arguments and returns 0.

    Raises:
        SystemExit: 1 a run failed, 2 wrong input (one line on stderr); saved and stopped: 130
            after Ctrl-C, 75 after SIGTERM or SIGUSR1.
    """
    leave_on_signals()
    sys.argv[1:] = arguments
    try:
        export_torchrun_env()
    except ValueError as error:
        _exit(str(error), 2)
    if (name := launcher_name()) and {"-m", "--multirun"} & set(sys.argv[1:]):
        _exit(
            f"-m under {name} would run the sweep once per rank; leave {name} away and use "
            "hydra/launcher=slurm, or launch.nproc=N for several ranks per run",
            2,
        )
    with _errors_in_one_line() as functions:
        getattr(functions, function)()
    return 0


@contextmanager
def _errors_in_one_line() -> Iterator[ModuleType]:
    """Around a function of harness/cli/hydra_main.py, which comes from here: importing it takes
    time, in which Ctrl-C is heard too."""
    try:
        with _wrong_input_in_one_line():
            yield _commands()
    except Stopped as stopped:
        stopped.note()
        _exit(stopped.line, stopped.status)
    except KeyboardInterrupt:
        _exit("stopped at once; the same command goes on from the last checkpoint", INTERRUPTED)


def _commands() -> ModuleType:
    from harness.cli import hydra_main
    from harness.launch.compose import check_config_names, config_dirs, nulls_as_deletions
    from harness.launch.sweeps.hydra_plugins import register

    sys.argv[1:] = nulls_as_deletions(sys.argv[1:])
    register()
    stop_on_signals()
    # Also where Hydra only shows a config.
    check_config_names(config_dirs(sys.argv[1:]))
    return hydra_main


@contextmanager
def _wrong_input_in_one_line() -> Iterator[None]:
    wants_traceback = TRACEBACK in os.environ
    # Else Hydra prints its own, longer account and leaves.
    os.environ[TRACEBACK] = "1"
    from harness.launch.compose import compose_choices
    from harness.launch.error_messages import (
        PRINTED_BY_EVERY_RANK,
        WRONG_INPUT,
        ExpectedError,
        exit_status,
        one_line,
    )

    try:
        yield
    except (ExpectedError, *WRONG_INPUT) as error:
        cause = error.error if isinstance(error, ExpectedError) else error
        if wants_traceback:
            raise cause from None
        line = one_line(cause, compose_choices(sys.argv[1:]))
        _exit(line, exit_status(cause), isinstance(cause, PRINTED_BY_EVERY_RANK))


def _exit(line: str, status: int, from_every_rank: bool = False) -> None:
    if from_every_rank or is_rank_zero():
        print(f"harness: {line}", file=sys.stderr)
    sys.exit(status)
