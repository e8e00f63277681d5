"""Estimates the cost of a sweep: epochs from its configs, time and disk from earlier runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.launch.sweeps.run_cost import RunCost
from harness.run_folder.progress_file import format_duration
from harness.system.atomic_files import read_json, write_json

COSTS = ".cache/costs.json"  # below the output folder


def estimate_line(
    plan: Plan,
    left: Sequence[PlannedRun],
    workers: int,
    benchmark: Callable[[str, int], RunCost | None] = lambda line, runs: None,
    done: Sequence[PlannedRun] = (),
) -> str:
    """Returns one line about the runs that are left to do.

    benchmark: measures the cost of a run. It is called for kinds without a finished run.
    done: finished runs of the plan, whose dense trainings and shared stages lie on disk.
    """
    line = f"sweep: {len(plan.runs)} runs, {len(left)} of them to do"
    if not left:
        return line
    dense = len({run.dense for run in left if run.dense} - {run.dense for run in done})
    trainings = f"{dense} dense training{'s' if dense != 1 else ''}"
    counted = f"{line}: {trainings}, {added_epochs(left, done)} epochs in all"
    costs = read_costs(plan.folder)
    new = {run.kind: run.line for run in reversed(left) if run.kind not in costs}
    measured = {name: cost for name, line in new.items() if (cost := benchmark(line, len(left)))}
    return f"{counted}; {_time_and_disk(costs | measured, left, workers, done)}"


def count_epochs(runs: Sequence[PlannedRun]) -> int:
    """Returns the number of epochs; stages that several of these runs share count once."""
    dense = {run.dense: run.dense_epochs for run in runs}
    counts = Counter(key for run in runs for key in run.shared)
    epochs = {key: epochs for run in runs for key, epochs in run.shared.items()}
    saved = sum((count - 1) * epochs[key] for key, count in counts.items())
    return sum(run.epochs for run in runs) + sum(dense.values()) - saved


def added_epochs(runs: Sequence[PlannedRun], done: Sequence[PlannedRun]) -> int:
    """Returns the epochs of runs beyond those that they share with runs that are done."""
    return count_epochs([*done, *runs]) - count_epochs(done)


def seconds_left(elapsed: float, ended: Sequence[PlannedRun], left: Sequence[PlannedRun]) -> float:
    """Returns how long the runs that are left will take, by the epochs that they add.

    elapsed: seconds since the first of `ended` began. Of runs without an epoch, each counts alike.
    """
    spent = count_epochs(ended)
    if not spent:
        return elapsed / len(ended) * len(left)
    return elapsed / spent * added_epochs(left, ended)


def _time_and_disk(
    costs: dict[str, RunCost],
    left: Sequence[PlannedRun],
    workers: int,
    done: Sequence[PlannedRun] = (),
) -> str:
    alike = _by_kind(left)
    if not costs.keys() >= alike.keys():
        return "time and disk are known once runs like these have finished"
    seconds = sum(
        costs[name].seconds_per_epoch * added_epochs(runs, done) for name, runs in alike.items()
    )
    megabytes = sum(costs[run.kind].megabytes for run in left)
    parallel = min(workers, len(left))
    on = f"{parallel} workers" if parallel > 1 else "1 worker"
    return (
        f"about {format_duration(seconds / parallel)} on {on}, {round(megabytes, 1):g} MB on disk"
    )


def _by_kind(runs: Iterable[PlannedRun]) -> dict[str, list[PlannedRun]]:
    alike: dict[str, list[PlannedRun]] = {}
    for run in runs:
        alike.setdefault(run.kind, []).append(run)
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
    ended = [(run, seconds) for run, seconds in finished if run.epochs]
    spent = {run.folder: seconds for run, seconds in ended}
    costs = {
        name: RunCost(
            round(sum(spent[run.folder] for run in runs) / count_epochs(runs), 4),
            round(_bytes(Path(runs[0].folder)) / 1e6, 3),
        )
        for name, runs in _by_kind(run for run, _ in ended).items()
    }
    if costs:
        file = sweep.parent / COSTS
        file.parent.mkdir(exist_ok=True)
        write_json(file, {n: vars(c) for n, c in (read_costs(sweep) | costs).items()})


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
