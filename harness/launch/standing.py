"""How a sweep stands, by its plans and the folders of its runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.files import is_stale
from harness.launch.plan import HOME, Plan, Planned
from harness.launch.start import LOG
from harness.state import Status

LOCK = ".lock"  # of harness.files.locked; whoever is at work holds it
STATES = ("done", "running", "interrupted", "failed", "missing")


@dataclass(frozen=True)
class Standing:
    """state: one of STATES. reason: why it failed. log: file with more of it."""

    says: str
    folder: str
    state: str
    reason: str = ""
    log: str = ""


def standing(sweep: Path) -> list[Standing]:
    """Of every point of the sweep's plans, each run once.

    Raises:
        ValueError: there is no plan in that folder, or a damaged one.
    """
    points = {point.folder: point for plan in plans(sweep) for point in plan.points}
    return [of_point(point) for point in points.values()]


def plans(sweep: Path) -> list[Plan]:
    """Oldest first.

    Raises:
        ValueError: there is none, or a damaged one.
    """
    files = list((sweep / HOME).glob("plan-*.jsonl"))
    if not files:
        raise ValueError(
            f"{sweep} holds no plan of a sweep; give the folder of one, as runs/survey, or make a "
            "plan with python -m harness.sweep plan sweep=NAME"
        )
    return [Plan.read(file) for file in sorted(files, key=lambda file: file.stat().st_mtime)]


def failed_plans(sweep: Path) -> list[Plan]:
    """Those with points that have failed; of plans that share such a point, the newest."""
    found: list[Plan] = []
    seen = set[str]()
    for plan in reversed(plans(sweep)):
        failed = {point.folder for point in plan.points if has_failed(point)} - seen
        found += [plan] if failed else []
        seen |= failed
    return found


def has_failed(point: Planned) -> bool:
    return of_point(point).state == "failed"


def of_point(point: Planned) -> Standing:
    folder = Path(point.folder)
    try:
        status = Status(folder, point.code).read()
        done = point.found("never")
    except ValueError as error:
        return Standing(point.says, point.folder, "failed", str(error))
    state = status.get("state", "missing")
    if state == "finished":
        state = "done" if done else "missing"
    elif state == "running" and not _is_at_work(folder):
        state = "interrupted"
    reason = status.get("reason", "") if state in ("failed", "interrupted") else ""
    log = folder / LOG
    return Standing(
        point.says, point.folder, state, reason, str(log) if reason and log.exists() else ""
    )


def _is_at_work(folder: Path) -> bool:
    lock = folder / LOCK
    return lock.is_dir() and not is_stale(lock)


def lines(found: Sequence[Standing]) -> list[str]:
    """Counts first; then every point that is not done."""
    counts = Counter(each.state for each in found)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES)
    return [f"{len(found)} runs: {said}", *map(_line, filter(_open, found))]


def _open(each: Standing) -> bool:
    return each.state != "done"


def _line(each: Standing) -> str:
    why = f": {each.reason}" if each.reason else ""
    return f"  {each.state}: {each.says}{why}" + (f" (see {each.log})" if each.log else "")
