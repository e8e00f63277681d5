"""Reads the plans of a sweep and finds their failed runs."""

from collections.abc import Sequence
from pathlib import Path

from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.overview import plan_files, run_status


def plans(sweep: Path, trust: Sequence[str] = ()) -> list[Plan]:
    """Returns the plans of a sweep, oldest first; trust: as in Plan.read.

    Raises:
        ValueError: there is no plan, or one is damaged or builds a part that is not allowed.
    """
    files = plan_files(sweep)
    if not files:
        raise ValueError(
            f"{sweep} holds no plan of a sweep; give the folder of one, as runs/survey, or make a "
            "plan with pruning-harness sweep plan sweep=NAME"
        )
    return [Plan.read(file, trust) for file in files]


def failed_plans(sweep: Path, trust: Sequence[str] = ()) -> list[Plan]:
    """Returns the plans with failed runs; of plans that share such a run, the newest."""
    plans_left: list[Plan] = []
    seen = set[str]()
    for plan in reversed(plans(sweep, trust)):
        failed = {run.folder for run in plan.runs if has_failed(run)} - seen
        plans_left += [plan] if failed else []
        seen |= failed
    return plans_left


def has_failed(run: PlannedRun) -> bool:
    return run_status(Path(run.folder), run.label).state == "failed"
