"""Runs `pruning-harness [run] [KEY=VALUE ...]`: one run, or with -m a sweep over several values."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import ModuleType

from harness.cli.main import common_commands
from harness.launch.backends.rank_env import export_torchrun_env, launcher_name
from harness.system.command_line import discard_output, print_text
from harness.system.signals import (
    INTERRUPTED,
    Stopped,
    exit_on_signals,
    finish_on_signals,
    is_rank_zero,
    stop_on_signals,
)

# Flags with which Hydra prints text, whose reader (such as head) may leave.
PRINTING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}
TRACEBACK = "HYDRA_FULL_ERROR"  # a user who sets it gets tracebacks


def main(arguments: Sequence[str], function: str = "run") -> int:
    """Calls a function of harness/cli/hydra_main.py with these arguments and returns 0."""
    with prepared(arguments, function) as task:
        task()
    return 0


@contextmanager
def prepared(arguments: Sequence[str], function: str) -> Iterator[Callable[[], object]]:
    """Yields a function of harness/cli/hydra_main.py that is ready to be called.

    A caller that calls it in its own body adds no frame between the command line and a run.

    Raises:
        SystemExit: with status 1 if a run failed, 2 for wrong input (one line on stderr), 130
            after Ctrl-C, and 75 after SIGTERM or SIGUSR1. A stopped run has saved itself.
    """
    exit_on_signals()
    sys.argv[1:] = arguments
    if {"-h", "--help"} & set(arguments) and is_rank_zero():
        print_text(common_commands())  # Hydra adds parts and keys
    try:
        export_torchrun_env()
    except ValueError as error:
        _exit(str(error), 2)
    if (name := launcher_name()) and {"-m", "--multirun"} & set(sys.argv[1:]):
        _exit(
            f"-m under {name} would run the sweep once per rank. Start it without {name}: with "
            "hydra/launcher=slurm, or with launch.ranks_per_run=N for several ranks per run",
            2,
        )
    if function == "measure" and {"-m", "--multirun"} & set(sys.argv[1:]):
        _exit("latency measures one model alone on the machine; start it without -m", 2)
    with _errors_in_one_line() as functions, _printed_config():
        try:
            yield getattr(functions, function)
        finally:
            finish_on_signals()  # Stopped in what Python calls at its exit would be a traceback


@contextmanager
def _errors_in_one_line() -> Iterator[ModuleType]:
    """Yields harness/cli/hydra_main.py; ends the command with one line after an expected error.

    The import is inside, because it takes seconds in which signals must be handled too.
    """
    try:
        with _wrong_input_in_one_line():
            yield _import_hydra_main()
    except Stopped as stopped:
        stopped.write_status()
        _exit(stopped.line, stopped.status)
    except BrokenPipeError:
        if not PRINTING & set(sys.argv[1:]):
            raise
        discard_output()
    except KeyboardInterrupt:
        _exit(
            "stopped at once; run the same command to resume from the last checkpoint", INTERRUPTED
        )


def _import_hydra_main() -> ModuleType:
    from harness.cli import hydra_main
    from harness.launch.compose import (
        check_config_names,
        check_overrides,
        config_dirs,
        nulls_as_deletions,
        options_first,
    )
    from harness.launch.config.own_files import check_headers, given_folders
    from harness.launch.sweeps.hydra_plugins import register

    check_overrides(sys.argv[1:])
    sys.argv[1:] = options_first(nulls_as_deletions(sys.argv[1:]))
    register()
    stop_on_signals()
    # Before Hydra reads configs, so that --cfg and --info are covered too.
    check_config_names(config_dirs(sys.argv[1:]))
    check_headers(given_folders(sys.argv[1:]))
    return hydra_main


@contextmanager
def _printed_config() -> Iterator[None]:
    from harness.launch.config.annotated import rules_beside_keys

    with rules_beside_keys() if {"--cfg", "-c"} & set(sys.argv[1:]) else nullcontext():
        yield


@contextmanager
def _wrong_input_in_one_line() -> Iterator[None]:
    wants_traceback = TRACEBACK in os.environ
    # Without it Hydra prints a longer message of its own and exits.
    os.environ[TRACEBACK] = "1"
    from harness.launch.compose import compose_choices
    from harness.launch.config.own_files import UNREADABLE, fault_of_configs
    from harness.launch.error_messages import (
        PRINTED_BY_EVERY_RANK,
        WRONG_INPUT,
        ExpectedError,
        exit_status,
        one_line,
    )

    try:
        yield
    except (ExpectedError, *WRONG_INPUT, *UNREADABLE) as error:
        cause = error.error if isinstance(error, ExpectedError) else error
        fault = fault_of_configs(sys.argv[1:]) if isinstance(cause, UNREADABLE) else None
        expected = isinstance(error, (ExpectedError, *WRONG_INPUT))
        if wants_traceback or not (fault or expected):
            raise cause from None
        if fault:
            _exit(fault, 2)
        line = one_line(cause, compose_choices(sys.argv[1:]))
        _exit(line, exit_status(cause), isinstance(cause, PRINTED_BY_EVERY_RANK))
    finally:
        if not wants_traceback:  # a caller's later commands inherit the environment
            del os.environ[TRACEBACK]


def _exit(line: str, status: int, from_every_rank: bool = False) -> None:
    if from_every_rank or is_rank_zero():
        print(f"harness: {line}", file=sys.stderr)
    sys.exit(status)
