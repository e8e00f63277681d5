"""Estimates the cost of a sweep: epochs from its configs, time and disk from earlier runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.launch.sweeps.run_cost import RunCost
from harness.run_folder.progress_file import format_duration
from harness.system.atomic_files import read_json, write_json

COSTS = ".cache/costs.json"  # below the folder of all results


def estimate_line(
    plan: Plan,
    left: Sequence[PlannedRun],
    workers: int,
    benchmark: Callable[[str, int], RunCost | None] = lambda line, points: None,
) -> str:
    """Returns one line about the runs that are left to do.

    benchmark: measures the cost of a run. It is called for kinds without a finished run.
    """
    runs = f"sweep: {len(plan.points)} runs, {len(left)} of them to do"
    if not left:
        return runs
    dense = len({point.dense for point in left if point.dense})
    trainings = f"{dense} dense training{'s' if dense != 1 else ''}"
    counted = f"{runs}: {trainings}, {count_epochs(left)} epochs in all"
    costs = read_costs(plan.folder)
    new = {point.kind: point.line for point in reversed(left) if point.kind not in costs}
    measured = {name: cost for name, line in new.items() if (cost := benchmark(line, len(left)))}
    return f"{counted}; {_time_and_disk(costs | measured, left, workers)}"


def count_epochs(points: Sequence[PlannedRun]) -> int:
    """Returns the number of epochs; stages that several of these runs share count once."""
    dense = {point.dense: point.dense_epochs for point in points}
    counts = Counter(key for point in points for key in point.shared)
    epochs = {key: epochs for point in points for key, epochs in point.shared.items()}
    saved = sum((count - 1) * epochs[key] for key, count in counts.items())
    return sum(point.epochs for point in points) + sum(dense.values()) - saved


def _time_and_disk(costs: dict[str, RunCost], left: Sequence[PlannedRun], workers: int) -> str:
    alike = _by_kind(left)
    if not costs.keys() >= alike.keys():
        return "time and disk are known once runs like these have finished"
    seconds = sum(
        costs[name].seconds_per_epoch * count_epochs(points) for name, points in alike.items()
    )
    megabytes = sum(costs[point.kind].megabytes for point in left)
    parallel = min(workers, len(left))
    on = f"{parallel} workers" if parallel > 1 else "1 worker"
    return (
        f"about {format_duration(seconds / parallel)} on {on}, {round(megabytes, 1):g} MB on disk"
    )


def _by_kind(points: Iterable[PlannedRun]) -> dict[str, list[PlannedRun]]:
    alike: dict[str, list[PlannedRun]] = {}
    for point in points:
        alike.setdefault(point.kind, []).append(point)
    return alike


def read_costs(sweep: Path) -> dict[str, RunCost]:
    """Returns costs by kind, from earlier sweeps into the same output folder."""
    try:
        costs = read_json(sweep.parent / COSTS) or {}
        return {name: RunCost(**cost) for name, cost in costs.items()}
    except (ValueError, TypeError, AttributeError):  # damaged: no reason to refuse a sweep
        return {}


def write_costs(sweep: Path, finished: Iterable[tuple[PlannedRun, float]]) -> None:
    """Updates the stored costs from finished runs and their seconds."""
    ended = [(point, seconds) for point, seconds in finished if point.epochs]
    spent = {point.folder: seconds for point, seconds in ended}
    costs = {
        name: RunCost(
            round(sum(spent[point.folder] for point in points) / count_epochs(points), 4),
            round(_bytes(Path(points[0].folder)) / 1e6, 3),
        )
        for name, points in _by_kind(point for point, _ in ended).items()
    }
    if costs:
        file = sweep.parent / COSTS
        file.parent.mkdir(exist_ok=True)
        write_json(file, {n: vars(c) for n, c in (read_costs(sweep) | costs).items()})


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
