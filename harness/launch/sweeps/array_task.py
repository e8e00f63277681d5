"""Executes a part of a plan in this process, for jobs that a user submits."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.launch.backends.base import try_execute_line
from harness.launch.digests.data import digest_if_readable
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.launch.sweeps.sweep import (
    RunOutcome,
    format_result,
    one_per_dense_training,
    print_summary,
)
from harness.system.locks import is_held

POLL_S = 1.0


def run_array_task(file: Path, part: str, dense: bool = False, trust: Sequence[str] = ()) -> int:
    """Executes runs I, I + N, ... of the plan in turn; returns 1 if any failed, else 0.

    Args:
        file: of the plan.
        part: "I/N".
        dense: only the dense trainings that runs share.
        trust: as in Plan.read.

    Raises:
        ValueError: there is no such plan or part, the plan was made elsewhere, or it builds a part
            that is not allowed.
        Stopped: a signal came. The active run has saved a checkpoint.
    """
    plan = Plan.read(file, trust)
    plan.check_home()
    if plan.unread:
        plan = plan.with_data(lambda spec: spec.data_sha256 or digest_if_readable(spec))
        plan.write()
    runs = [p.only_dense() for p in one_per_dense_training(plan.runs)] if dense else plan.runs
    return run_one_by_one(runs[_slice(part)])


def run_one_by_one(runs: Sequence[PlannedRun]) -> int:
    """Executes runs in turn and prints a summary; returns 1 if any failed, else 0."""
    ended = []
    for run, outcome in _outcomes(runs):
        print(format_result(run, outcome), flush=True)
        ended.append((run, outcome))
    return print_summary(ended)


def _outcomes(runs: Sequence[PlannedRun]) -> Iterator[RunOutcome]:
    """Yields the outcome of every run; runs that another process executes come last.

    Those exist if a plan was submitted twice, or if a sweep's parent died and its jobs run on.
    """
    left = list(runs)
    while left:
        run = next((run for run in left if not _is_taken(run)), None)
        if run is None:
            time.sleep(POLL_S)
            continue
        left.remove(run)
        outcome = run.finished() or try_execute_line(run.line)
        if outcome.state == "failed" and _is_taken(run):
            left.append(run)
        else:
            yield run, outcome


def _is_taken(run: PlannedRun) -> bool:
    return is_held(Path(run.folder))


def _slice(part: str) -> slice:
    """Returns the slice of runs for "I/N".

    >>> _slice("1/4")
    slice(1, None, 4)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or int(match[1]) >= int(match[2]):
        raise ValueError(f"--part must be I/N with I from 0 to N - 1, got {part!r}")
    return slice(int(match[1]), None, int(match[2]))
