"""Measures how long each layer of a model takes at several widths, and writes a latency table."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.experiment.checks.given_table import conditions, layer_facts
from harness.experiment.context import RunContext
from harness.experiment.rehearsals.smaller import every_other_unit
from harness.groups.network_latency import latency_of
from harness.metrics.layer_latency import (
    LatencyGrid,
    Seen,
    Width,
    seen_layers,
    several,
    smaller,
    step_of,
    timed,
    widths,
)
from harness.metrics.stopwatch import Clock, quartiles, ratios
from harness.pruning.removal.compaction import without_pruned_units
from harness.system.atomic_files import write_json
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import Inputs, call_model
from harness.vocabulary.given.latency_table import FORMAT, NANOSECONDS, parsed_table
from harness.vocabulary.tensors import eval_mode, prunable_layers
from harness.vocabulary.undisturbed import preserve_model

LOG = logging.getLogger(__name__)
Entry = dict[str, Any]


@dataclass(frozen=True)
class TableOfLayers:
    """Measures the layers of a run's model before any training; values of weights decide no time.

    Args:
        context: of a run that requests nothing.
        model: dense.
        options: what is measured, and how often.
        command: repeats the measurement.
        clock: returns seconds.
    """

    context: RunContext
    model: nn.Module
    options: LatencyGrid
    command: Sequence[str] = ()
    clock: Clock = time.perf_counter

    def write(self) -> Path:
        """Measures, and writes the table in one piece; a stop before that leaves nothing."""
        file = Path(self.options.file)
        check_writable(file, self.options.overwrite)
        with torch.random.fork_rng(), preserve_model(self.model), eval_mode(self.model):
            table = self._measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, table)
        return file

    def _measure(self) -> dict[str, Any]:
        inputs = self.context.workload.batch_of(self.options.batch_size)
        seen, facts = seen_layers(self.model, inputs), layer_facts(self.model, self.context.macs)
        layers = self._layers(seen, facts)
        experiment, device = self.context.experiment, self.context.ranks.device
        table: dict[str, Any] = {
            "latency_table": FORMAT,
            "conditions": {
                **conditions(device, experiment.dtype),
                "batch_size": self.options.batch_size,
            },
            "layers": layers,
            "unmeasured": [name for name in facts if name not in seen],
            "repeats": self.options.repeats,
            "command": list(self.command),
            "date": datetime.now(UTC).date().isoformat(),
        }
        return table | self._whole(table, inputs) | {"noise": self._noise(layers, seen)}

    def _layers(self, seen: Mapping[str, Seen], facts: Mapping[str, Any]) -> dict[str, Entry]:
        """Returns the entries by name; of layers that are equal the first is measured."""
        modules, entries, first = prunable_layers(self.model), dict[str, Entry](), dict[str, str]()
        for number, name in enumerate(seen, 1):
            grids = self._grids(name, facts[name].shape)
            sizes = [[width.size for width in grid] for grid in grids]
            key = repr((str(modules[name]), seen[name], facts[name], sizes))
            if key in first:
                entries[name] = {"as": first[key]}
                continue
            first[key] = name
            LOG.info("latency: layer %d of %d, %s", number, len(seen), name.rpartition(".")[0])
            measured = self._grid(modules[name], grids, seen[name])
            transposed = bool(getattr(modules[name], "transposed", False))
            entries[name] = {
                "shape": list(facts[name].shape),
                "macs": facts[name].macs,
                "inputs": [list(shape) for shape in seen[name].inputs],
                "elements": seen[name].elements,
                "output_dim": int(transposed),
                **measured,
            }
        return entries

    def _grids(self, name: str, shape: Sequence[int]) -> tuple[list[Width], list[Width]]:
        units, points = self.context.units, self.options.points
        first, second = (widths(units, name, dim, shape[dim], points) for dim in (0, 1))
        return first, second

    def _grid(self, layer: nn.Module, grids: tuple[list[Width], list[Width]], seen: Seen) -> Entry:
        """Returns widths, and low, median and high milliseconds at each pair of them."""
        try:
            made = [[smaller(layer, one, two) for two in grids[1]] for one in grids[0]]
        except ValueError as error:  # unequal groups of a convolution
            LOG.warning("latency: %s is measured at its dense width alone: %s", layer, error)
            grids = ([grids[0][-1]], [grids[1][-1]])
            made = [[layer]]
        sides = {
            f"{i} {j}": step_of(each, seen.inputs)
            for i, row in enumerate(made)
            for j, each in enumerate(row)
        }
        seconds = timed(sides, self.options, self.context.ranks.device, self.clock)
        ends = {place: _milliseconds(each) for place, each in seconds.items()}
        rows = {
            key: [[ends[f"{i} {j}"][at] for j in range(len(row))] for i, row in enumerate(made)]
            for at, key in enumerate(("milliseconds_low", "milliseconds", "milliseconds_high"))
        }
        return {"widths": [[width.size for width in grid] for grid in grids], **rows}

    def _whole(self, table: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
        """Returns the time of the dense model, and what no layer explains.

        The part of it that shrinks is found from a second model, of which every other unit is
        removed: what no layer explains is taken to be linear in the elements that layers put out.
        """
        device, sides = self.context.ranks.device, {"dense": self.model}
        masks = every_other_unit(self.context.units, self.model)
        reason = ""
        try:
            sample, norms = self.context.workload.sample(), self.context.norms
            half = without_pruned_units(self.model, masks, sample, lambda *_: None, norms).model
            sides["half"] = half.eval()
        except ValueError as error:
            reason = first_line(error)
        steps = {name: several(_call(model, inputs), device) for name, model in sides.items()}
        ends = {
            name: _milliseconds(seconds)
            for name, seconds in timed(steps, self.options, device, self.clock).items()
        }
        bare = parsed_table("", {**table, "other": {"constant_ms": 0.0, "shrinking_ms": 0.0}})
        latency = latency_of(self.model, self.context.units, bare)
        kept = {name: int(each.alive(masks).sum()) for name, each in self.context.units.items()}
        rest = max(0.0, ends["dense"][1] - bare.dense / NANOSECONDS)
        shrinking = 0.0
        if "half" in ends:
            fraction = latency.elements_left(kept) / bare.elements if bare.elements else 1.0
            left = max(0.0, ends["half"][1] - latency.left(kept) / NANOSECONDS)
            if fraction < 1:
                shrinking = min(rest, max(0.0, (rest - left) / (1 - fraction)))
        other: dict[str, Any] = {
            "constant_ms": round(rest - shrinking, 6),
            "shrinking_ms": round(shrinking, 6),
        }
        if reason:
            other["why_constant"] = reason
        keys = ("milliseconds_low", "milliseconds", "milliseconds_high")
        return {
            "model": {name: dict(zip(keys, each, strict=True)) for name, each in ends.items()},
            "other": other,
        }

    def _noise(self, layers: Mapping[str, Entry], seen: Mapping[str, Seen]) -> dict[str, Any]:
        """Returns the times of the slowest layer divided by those of the same layer."""
        own = {name: entry for name, entry in layers.items() if "as" not in entry}
        name = max(own, key=lambda each: own[each]["milliseconds"][-1][-1])
        layer = prunable_layers(self.model)[name]
        sides = {side: step_of(layer, seen[name].inputs) for side in ("one", "other")}
        seconds = timed(sides, self.options, self.context.ranks.device, self.clock)
        low, median, high = quartiles(ratios(seconds["one"], seconds["other"]))
        ends = {"ratio_low": low, "ratio": median, "ratio_high": high}
        return {"layer": name, **{key: round(value, 4) for key, value in ends.items()}}


def check_writable(file: Path, overwrite: bool) -> None:
    """Checks before anything is measured that the table can be written.

    Raises:
        ValueError: there is a file already, or the path is a folder.
    """
    if file.is_dir():
        raise ValueError(f"latency_grid.file={file} is a folder; give the path of a file")
    if file.exists() and not overwrite:
        raise ValueError(
            f"latency_grid.file={file} exists; give another file, or latency_grid.overwrite=true"
        )


def _call(model: nn.Module, inputs: Inputs) -> Callable[[], object]:
    return lambda: call_model(model, inputs)


def _milliseconds(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(1000 * each, 6) for each in quartiles(seconds))
