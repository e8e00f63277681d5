"""Reads off a latency table how long a network takes when only some units of its groups stay."""

from dataclasses import dataclass
from functools import cached_property

from torch import nn

from harness.groups.network_size import NetworkSize, parameters_of
from harness.groups.units import Units
from harness.vocabulary.given.latency_table import LatencyTable
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class NetworkLatency:
    """Adds up the times of layers at the widths that are left, and what no layer explains.

    A part of the latter shrinks with the elements that layers put out: norms, activations and sums
    run over these.

    Args:
        table: of this network.
        size: of the same network.
    """

    table: LatencyTable
    size: NetworkSize

    def left(self, kept: Counts) -> int:
        """Returns the nanoseconds of a forward pass of the table's batch."""
        found = [self._left_of(name, kept) for name in self.table.layers]
        times, elements = sum(time for time, _ in found), sum(share for _, share in found)
        return self.table.constant + times + self._shrunk(elements)

    def elements_left(self, kept: Counts) -> float:
        """Returns how many elements layers put out, in one forward pass."""
        return sum(self._left_of(name, kept)[1] for name in self.table.layers)

    def removed_by_one(self, units: str, kept: Counts) -> int:
        """Returns left(kept) - left(kept with one less of these units)."""
        fewer = {**kept, units: kept[units] - 1}
        times = elements = 0.0
        for name in self._layers_of.get(units, ()):
            (before, share), (after, rest) = (self._left_of(name, k) for k in (kept, fewer))
            times += before - after
            elements += share - rest
        return max(0, round(times + self._shrunk(elements)))

    def removable(self, kept: Counts) -> int:
        """Returns what is left of the part that pruning can remove."""
        return self.left(kept) - self.left(dict.fromkeys(self.size.units, 0))

    @cached_property
    def _layers_of(self) -> dict[str, list[str]]:
        found: dict[str, dict[str, None]] = {}
        for (name, dim), cuts in self.size.cuts.items():
            for units, _ in cuts if dim < 2 and name in self.table.layers else ():
                found.setdefault(units, {})[name] = None
        return {units: list(names) for units, names in found.items()}

    def _left_of(self, name: str, kept: Counts) -> tuple[int, float]:
        """Returns a layer's nanoseconds, and the elements that it puts out."""
        times, sizes = self.table.layers[name], self.size.sizes_left(name, kept)
        first, second = max(0, round(sizes[0])), max(0, round(sizes[1]))
        dim = times.output_dim
        width = (first, second)[dim] if min(first, second) else 0
        return times.at(first, second), times.elements * width / times.facts.shape[dim]

    def _shrunk(self, elements: float) -> int:
        whole = self.table.elements
        return round(self.table.shrinking * elements / whole) if whole else 0


def latency_of(model: nn.Module, units: Units, table: LatencyTable) -> NetworkLatency:
    """Returns what reads the latency of parts of this model."""
    return NetworkLatency(table, parameters_of(model, units))
