"""Executes a RunSpec in this process and returns an Outcome; imports torch as late as possible."""

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.launch.backends import local_ranks
from harness.launch.error_messages import WRONG_INPUT, one_line
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import LOG
from harness.run_folder.status_file import Status
from harness.system.atomic_files import write_atomic
from harness.system.deletion import ELSEWHERE, check_no_link
from harness.system.errors import LeaseLost
from harness.system.loaded_sources import watch_imports
from harness.system.locks import Busy
from harness.system.processes import without_collection
from harness.system.redaction import redact
from harness.system.signals import exiting_on_signals, is_rank_zero


def executor(spec: RunSpec) -> Callable[[RunSpec], Outcome]:
    """Returns the function that executes the run.

    For one rank it is harness.launch.execute.execute_run, and torch is imported now. With
    launch.ranks_per_run > 1 it is a function that starts the ranks.
    """
    spec.check_values()
    count = local_ranks.rank_count(spec.values)
    if count > 1:
        return partial(local_ranks.spawn_ranks, count=count)
    import_execute()
    from harness.launch import execute

    return execute.execute_run


def execute_spec(spec: RunSpec) -> Outcome:
    return executor(spec)(spec)


def import_execute() -> None:
    """Imports harness.launch.execute, and torch with it, which takes seconds."""
    watch_imports()
    with exiting_on_signals(), without_collection():
        import harness.launch.execute  # noqa: F401


def try_execute(spec: RunSpec) -> Outcome:
    """Executes a run of a sweep; returns an error as a failed outcome and writes it to the folder.

    Raises:
        Stopped: a signal has stopped the run, which has saved itself.
    """
    began = time.perf_counter()
    try:
        if local_ranks.rank_count(spec.values) == 1:
            import_execute()
            from harness.launch.digests.data import with_data_digest

            spec = spec if spec.data_sha256 else with_data_digest(spec)
            began = time.perf_counter()
        outcome = execute_spec(spec)
    except Exception as error:
        outcome = failed_outcome(spec, error)
    return replace(outcome, seconds=time.perf_counter() - began)


def failed_outcome(spec: RunSpec, error: Exception) -> Outcome:
    """Returns the outcome of a run that this error ends, and writes it to the run's folder."""
    reason, again = one_line(error), not isinstance(error, WRONG_INPUT)
    try:
        spec.check_values()
        folder = spec.folder
    except ValueError:  # in this environment it is another run, or none
        return Outcome("failed", "", reason, retryable=again)
    failed = Outcome("failed", str(folder), reason, retryable=again)
    # The folder belongs to another process.
    if isinstance(error, (Busy, LeaseLost)) or not is_rank_zero():
        return failed
    log = folder / LOG
    with suppress(Exception):  # a full disk must not hide the reason
        _write_failure(spec, error, log)
        return replace(failed, log=str(log))
    return failed


def _write_failure(spec: RunSpec, error: Exception, log: Path) -> None:
    for folder in (log.parent.parent, log.parent):
        check_no_link(folder, ELSEWHERE)
    log.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(log, redact("".join(traceback.format_exception(error))))
    status = Status(spec.folder, spec.code)
    if status.read().get("state") not in ("failed", "finished"):
        status.set("failed", one_line(error))
