"""Plans in a folder of runs, and runs of them that ended in some state."""

from pathlib import Path

from grids import TINY, planned_of

from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.outcome import RESULTS
from harness.run_folder.overview import HOME
from harness.run_folder.status_file import Status


def plan_in(runs: Path, *grid: str, file: str = "plan-a.jsonl") -> Plan:
    points = planned_of(*TINY, f"output_dir={runs}", *grid)
    plan = Plan(runs / "single" / HOME / file, "", runs / "single", [*grid], points)
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    plan.write()
    return plan


def finish(point: PlannedRun, state: str = "finished", reason: str = "") -> None:
    folder = Path(point.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        (folder / name).touch()
    Status(folder, point.code).set(state, reason)
