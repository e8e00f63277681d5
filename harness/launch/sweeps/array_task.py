"""A part of a plan in this process, for jobs that others start."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.launch.backends.base import attempt_line
from harness.launch.digests.data import readable
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import Planned
from harness.launch.sweeps.sweep import Ended, end, first_of_each_dense, told
from harness.system.locks import is_held

POLL_S = 1.0


def carry_out(file: Path, part: str, dense: bool = False, trust: Sequence[str] = ()) -> int:
    """Points I, I + N, ... of the plan, one after the other; 1 if any failed, else 0.

    part: "I/N". dense: only the dense trainings that points share. trust: as of Plan.read.

    Raises:
        ValueError: there is no such plan or part, it was made elsewhere, or it builds what is not
            allowed.
        Stopped: a signal asked for it; the run under way has saved itself.
    """
    plan = Plan.read(file, trust)
    plan.check_home()
    if plan.unread:
        plan = plan.with_data(lambda point: point.data_sha256 or readable(point))
        plan.write()
    points = [p.dense_alone() for p in first_of_each_dense(plan.points)] if dense else plan.points
    return one_by_one(points[_slice(part)])


def one_by_one(points: Sequence[Planned]) -> int:
    """1 if any failed, else 0."""
    ended = []
    for point, outcome in _ends(points):
        print(told(point, outcome), flush=True)
        ended.append((point, outcome))
    return end(ended)


def _ends(points: Sequence[Planned]) -> Iterator[Ended]:
    """Points at which another process works come last, and are waited for: a plan may have been
    submitted twice, or a sweep's parent be lost and its jobs go on."""
    left = list(points)
    while left:
        point = next((point for point in left if not _is_taken(point)), None)
        if point is None:
            time.sleep(POLL_S)
            continue
        left.remove(point)
        outcome = point.finished() or attempt_line(point.line)
        if outcome.state == "failed" and _is_taken(point):
            left.append(point)
        else:
            yield point, outcome


def _is_taken(point: Planned) -> bool:
    return is_held(Path(point.folder))


def _slice(part: str) -> slice:
    """
    >>> _slice("1/4")
    slice(1, None, 4)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or int(match[1]) >= int(match[2]):
        raise ValueError(f"--part must be I/N with I from 0 to N - 1, got {part!r}")
    return slice(int(match[1]), None, int(match[2]))
