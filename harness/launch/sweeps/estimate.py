"""What a sweep will cost: epochs from its configs; time and disk from runs that came before."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import Planned
from harness.launch.sweeps.run_cost import Cost
from harness.run_folder.progress_file import format_duration
from harness.system.atomic_files import read_json, write_json

COSTS = ".cache/costs.json"  # below the folder of all results


def stated(
    plan: Plan,
    left: Sequence[Planned],
    workers: int,
    gauge: Callable[[str, int], Cost | None] = lambda line, points: None,
) -> str:
    """One line for what is left of the plan.

    gauge: measures what a point would cost; asked for kinds of which no run has finished yet.
    """
    runs = f"sweep: {len(plan.points)} runs, {len(left)} of them to do"
    if not left:
        return runs
    dense = len({point.dense for point in left if point.dense})
    trainings = f"{dense} dense training{'s' if dense != 1 else ''}"
    counted = f"{runs}: {trainings}, {trained(left)} epochs in all"
    costs = known(plan.folder)
    new = {point.kind: point.line for point in reversed(left) if point.kind not in costs}
    measured = {name: cost for name, line in new.items() if (cost := gauge(line, len(left)))}
    return f"{counted}; {_time_and_disk(costs | measured, left, workers)}"


def trained(points: Sequence[Planned]) -> int:
    """Epochs, with what several of these points share counted once."""
    dense = {point.dense: point.dense_epochs for point in points}
    counts = Counter(key for point in points for key in point.shared)
    each = {key: epochs for point in points for key, epochs in point.shared.items()}
    saved = sum((count - 1) * each[key] for key, count in counts.items())
    return sum(point.epochs for point in points) + sum(dense.values()) - saved


def _time_and_disk(costs: dict[str, Cost], left: Sequence[Planned], workers: int) -> str:
    alike = _by_kind(left)
    if not costs.keys() >= alike.keys():
        return "time and disk are known once runs like these have finished"
    seconds = sum(costs[name].seconds_per_epoch * trained(each) for name, each in alike.items())
    megabytes = sum(costs[point.kind].megabytes for point in left)
    places = min(workers, len(left))
    on = f"{places} workers" if places > 1 else "1 worker"
    return f"about {format_duration(seconds / places)} on {on}, {round(megabytes, 1):g} MB on disk"


def _by_kind(points: Iterable[Planned]) -> dict[str, list[Planned]]:
    alike: dict[str, list[Planned]] = {}
    for point in points:
        alike.setdefault(point.kind, []).append(point)
    return alike


def known(sweep: Path) -> dict[str, Cost]:
    """By kind, from earlier sweeps into the same folder of results."""
    try:
        costs = read_json(sweep.parent / COSTS) or {}
        return {name: Cost(**cost) for name, cost in costs.items()}
    except (ValueError, TypeError, AttributeError):  # damaged: no reason to refuse a sweep
        return {}


def learn(sweep: Path, found: Iterable[tuple[Planned, float]]) -> None:
    """(point, seconds) of runs that have finished, for the next estimate."""
    ended = [(point, seconds) for point, seconds in found if point.epochs]
    spent = {point.folder: seconds for point, seconds in ended}
    costs = {
        name: Cost(
            round(sum(spent[point.folder] for point in points) / trained(points), 4),
            round(_bytes(Path(points[0].folder)) / 1e6, 3),
        )
        for name, points in _by_kind(point for point, _ in ended).items()
    }
    if costs:
        file = sweep.parent / COSTS
        file.parent.mkdir(exist_ok=True)
        write_json(file, {n: vars(c) for n, c in (known(sweep) | costs).items()})


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
