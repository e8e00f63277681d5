"""Starts the work on a point in this process, and makes an Outcome of whatever happens to it."""

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
from harness.system.atomic_files import write_whole
from harness.system.deletion import ELSEWHERE, check_no_link
from harness.system.errors import LeaseLost
from harness.system.loaded_sources import watch
from harness.system.locks import Busy
from harness.system.redaction import redacted
from harness.system.signals import is_rank_zero, leaving_on_signals


def executor(point: RunSpec) -> Callable[[RunSpec], Outcome]:
    """Returns the function that executes the run: harness.launch.execute.execute_run, for which
    torch is imported now, or one that starts ranks if launch.ranks_per_run is above 1."""
    point.check_values()
    count = local_ranks.count_of(point.values)
    if count > 1:
        return partial(local_ranks.carry_out, count=count)
    import_execute()
    from harness.launch import execute

    return execute.execute_run


def execute_spec(point: RunSpec) -> Outcome:
    return executor(point)(point)


def import_execute() -> None:
    """Takes seconds, once."""
    watch()
    with leaving_on_signals():
        import harness.launch.execute  # noqa: F401


def try_execute(point: RunSpec) -> Outcome:
    """One point of a sweep: an error becomes a failed outcome, told in the run's folder too.

    Raises:
        Stopped: a signal asked for it, and the run has saved itself.
    """
    began = time.perf_counter()
    try:
        if local_ranks.count_of(point.values) == 1:
            import_execute()
            from harness.launch.digests.data import named

            point = point if point.data_sha256 else named(point)
            began = time.perf_counter()
        outcome = execute_spec(point)
    except Exception as error:
        outcome = _failed(point, error)
    return replace(outcome, seconds=time.perf_counter() - began)


def _failed(point: RunSpec, error: Exception) -> Outcome:
    reason, again = one_line(error), not isinstance(error, WRONG_INPUT)
    try:
        point.check_values()
        folder = point.folder
    except ValueError:  # by the environment here it is no run, or another one
        return Outcome("failed", "", reason, retryable=again)
    failed = Outcome("failed", str(folder), reason, retryable=again)
    # A folder that is another process's is not to be written into.
    if isinstance(error, (Busy, LeaseLost)) or not is_rank_zero():
        return failed
    log = folder / LOG
    with suppress(Exception):  # a full disk must not hide the reason
        _write_failure(point, reason, log)
        return replace(failed, log=str(log))
    return failed


def _write_failure(point: RunSpec, reason: str, log: Path) -> None:
    for own in (log.parent.parent, log.parent):
        check_no_link(own, ELSEWHERE)
    log.parent.mkdir(parents=True, exist_ok=True)
    write_whole(log, redacted(traceback.format_exc()))
    status = Status(point.folder, point.code)
    if status.read().get("state") not in ("failed", "finished"):
        status.set("failed", reason)
