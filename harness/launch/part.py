"""A part of a plan in this process, for jobs that others start."""

import re
from pathlib import Path

from harness.launch.engine import attempt_line
from harness.launch.plan import Plan
from harness.launch.sweep import end, first_of_each_dense, told


def carry_out(file: Path, part: str, dense: bool = False) -> int:
    """Points I, I + N, ... of the plan, one after the other; 1 if any failed, else 0.

    part: "I/N". dense: only the dense trainings that points share.

    Raises:
        ValueError: there is no such plan or part.
        Stopped: a signal asked for it; the run under way has saved itself.
    """
    plan = Plan.read(file)
    points = [p.dense_alone() for p in first_of_each_dense(plan.points)] if dense else plan.points
    ended = []
    for point in points[_slice(part)]:
        outcome = point.finished() or attempt_line(point.line)
        print(told(point, outcome), flush=True)
        ended.append((point, outcome))
    return end(ended)


def _slice(part: str) -> slice:
    """
    >>> _slice("1/4")
    slice(1, None, 4)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or int(match[1]) >= int(match[2]):
        raise ValueError(f"--part must be I/N with I from 0 to N - 1, got {part!r}")
    return slice(int(match[1]), None, int(match[2]))
