"""The plans of a sweep, and those of their points that have failed."""

from collections.abc import Sequence
from pathlib import Path

from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import Planned
from harness.run_folder.overview import plan_files, run_status


def plans(sweep: Path, trust: Sequence[str] = ()) -> list[Plan]:
    """Oldest first; trust: as of Plan.read.

    Raises:
        ValueError: there is none, or one that is damaged or builds what is not allowed.
    """
    files = plan_files(sweep)
    if not files:
        raise ValueError(
            f"{sweep} holds no plan of a sweep; give the folder of one, as runs/survey, or make a "
            "plan with pruning-harness sweep plan sweep=NAME"
        )
    return [Plan.read(file, trust) for file in files]


def failed_plans(sweep: Path, trust: Sequence[str] = ()) -> list[Plan]:
    """Those with points that have failed; of plans that share such a point, the newest."""
    found: list[Plan] = []
    seen = set[str]()
    for plan in reversed(plans(sweep, trust)):
        failed = {point.folder for point in plan.points if has_failed(point)} - seen
        found += [plan] if failed else []
        seen |= failed
    return found


def has_failed(point: Planned) -> bool:
    return run_status(Path(point.folder), point.says).state == "failed"
