"""What a sweep will cost: epochs from its configs; time and disk from runs that came before."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.files import read_json, write_json
from harness.identity import Config
from harness.launch.build import build_part

if TYPE_CHECKING:
    from harness.launch.plan import Plan, Planned

COSTS = ".costs.json"  # below the folder of all results
DECIDES = ("model", "data", "dtype", "threads", "device")


@dataclass(frozen=True)
class Cost:
    """Of runs that are alike in time and size."""

    seconds_per_epoch: float
    megabytes: float  # of one run's folder


def kind(config: Config) -> str:
    """Equal for runs whose epochs take about as long, and whose results are about as large."""
    batch = config["training"]["batch_size"]
    decides = [*(config[key] for key in DECIDES), batch, config["launch"].get("nproc", 1)]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def epochs_of(config: Config) -> dict[str, int]:
    """Of one level's trainings, by stage. Speed-ups, which Scratch-B's length depends on, count as
    1; nothing for a config that no run can have."""
    try:
        plan = build_part(config["finetune"]).plan(config["training"]["epochs"], 1.0)
        penalty = (config.get("penalty") or {}).get("epochs", 0)
        if plan is None:
            return {"penalised": penalty}
        whole = config[plan.recipe]["epochs"] if plan.epochs is None else plan.epochs
        return {"penalised": penalty, "finetuned": int(whole - plan.begin.epoch)}
    except Exception:  # the run itself will say what is wrong
        return {}


def stated(plan: "Plan", left: Sequence["Planned"], workers: int) -> str:
    """One line for what is left of the plan."""
    runs = f"sweep: {len(plan.points)} runs, {len(left)} of them to do"
    if not left:
        return runs
    dense = {point.dense: point for point in left if point.dense}
    epochs = sum(point.epochs for point in left) + sum(p.dense_epochs for p in dense.values())
    epochs -= _saved(left)
    trainings = f"{len(dense)} dense training{'s' if len(dense) != 1 else ''}"
    counted = f"{runs}: {trainings}, {epochs} epochs in all"
    return f"{counted}; {_time_and_disk(known(plan.folder), left, dense.values(), workers)}"


def _saved(left: Sequence["Planned"]) -> int:
    """Epochs of stages that all but the first of several runs find on disk."""
    counts = Counter(key for point in left for key in point.shared)
    each = {key: epochs for point in left for key, epochs in point.shared.items()}
    return sum((count - 1) * each[key] for key, count in counts.items())


def _time_and_disk(
    costs: dict[str, Cost], left: Sequence["Planned"], dense: Iterable["Planned"], workers: int
) -> str:
    if not all(point.kind in costs for point in left):
        return "time and disk are known once runs like these have finished"
    seconds = sum(costs[point.kind].seconds_per_epoch * point.epochs for point in left)
    seconds += sum(costs[point.kind].seconds_per_epoch * point.dense_epochs for point in dense)
    megabytes = sum(costs[point.kind].megabytes for point in left)
    places = min(workers, len(left))
    return f"about {spoken(seconds / places)} on {places} workers, {megabytes:.0f} MB on disk"


def spoken(seconds: float) -> str:
    """
    >>> spoken(31.2), spoken(700), spoken(20_000)
    ('31 s', '12 min', '5.6 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def known(sweep: Path) -> dict[str, Cost]:
    """By kind, from earlier sweeps into the same folder of results."""
    return {name: Cost(**cost) for name, cost in (read_json(sweep.parent / COSTS) or {}).items()}


def learn(sweep: Path, found: Iterable[tuple["Planned", float]]) -> None:
    """(point, seconds) of runs that have finished, for the next estimate."""
    spent: dict[str, list[tuple[Planned, float]]] = {}
    for point, seconds in found:
        if point.epochs:
            spent.setdefault(point.kind, []).append((point, seconds))
    costs = {name: _cost(ends) for name, ends in spent.items()}
    if costs:
        write_json(sweep.parent / COSTS, {n: vars(c) for n, c in (known(sweep) | costs).items()})


def _cost(ends: Sequence[tuple["Planned", float]]) -> Cost:
    dense = {point.dense: point.dense_epochs for point, _ in ends}
    epochs = sum(point.epochs for point, _ in ends) + sum(dense.values())
    folder = Path(ends[0][0].folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Cost(round(sum(seconds for _, seconds in ends) / epochs, 4), round(size / 1e6, 3))
