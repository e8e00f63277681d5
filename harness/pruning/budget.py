"""Counts parameters or multiply-accumulates, and finds units per layer for a requested size."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import partial

from torch import nn

from harness.allocation.base import Allocation, Layer, Layers, ModelInfo, Unreachable
from harness.allocation.shared import rounding
from harness.groups.network_size import macs_of, parameters_of
from harness.groups.units import Units
from harness.schedule.base import round_fractions
from harness.vocabulary.tensors import Counts

# A requested value that is the reachable limit in six digits, rounded up or down, is accepted.
ROUNDING = 1e-5
# Rounding moves a count by less than one unit, so the size of a rule's counts varies by a few
# units' cost.
SPAN = 128
HALVINGS = 30
LEFT = " left"

Size = Callable[[Counts], int]  # units per set -> the size of the removable part


@dataclass(frozen=True)
class SizeModel:
    """Holds the total size of a model, and how much of the total pruning can remove.

    A density refers to the removable part: the units that the structure may prune after `exclude`.
    Compression and speed-up refer to the whole model.

    Args:
        unit: the unit of the request: "density", "compression" or "speedup".
        total: the size of the whole model; for a density, the removable size.
        removable: the size of the units that the structure prunes.
        counts: what sizes count: "parameters", "macs" (of one sample), or "units"; with " left"
            behind it, of the network whose pruned units are cut out, columns included.
        size_at: the size of the removable part of which each set keeps a fraction of its units;
            None if that is the same fraction.
    """

    unit: str
    total: int
    removable: int
    counts: str
    size_at: Callable[[float], int] | None = field(default=None, compare=False)

    def to_kept_fraction(self, requested: float) -> float:
        """Returns the kept fraction of the removable part that gives the requested size.

        requested: a density in (0, 1], which is that fraction, or a compression or speed-up >= 1.

        Raises:
            ValueError: the part that is never removed exceeds the requested size (the error names
                the reachable limit), or nothing can be removed.
        """
        if self.removable == 0:
            raise ValueError(_nothing_to_remove(self.counts))
        if self.unit == "density":
            return requested
        fixed, remaining = self.total - self.removable, self.total / requested
        if remaining < fixed - ROUNDING * self.total:
            raise ValueError(
                f"{self.unit} {requested} cannot be reached: {fixed} of {self.total} are never "
                f"removed by this structure; ask for at most {self.limit(0.0)}"
            )
        return max(0.0, remaining - fixed) / self.removable

    def from_kept_fraction(self, kept_fraction: float) -> float:
        """Returns the density, or the compression or speed-up of the whole model.

        This is the inverse of `to_kept_fraction`.
        """
        if self.unit == "density":
            return kept_fraction
        remaining = self.total - self.removable + kept_fraction * self.removable
        return self.total / remaining if remaining else float("inf")

    def converted(self, kept_fraction: float, other: "SizeModel") -> float:
        """Returns the kept fraction in the other's counts, as if all sets kept equal fractions."""
        if self.counts == other.counts:
            return kept_fraction
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = self._fraction_at(middle) <= kept_fraction
            low, high = (middle, high) if below else (low, middle)
        return other._fraction_at(low)

    def _fraction_at(self, units: float) -> float:
        return units if self.size_at is None else self.size_at(units) / self.removable

    def limit(self, kept_fraction: float) -> str:
        """Returns the nearest reachable value that keeps at least `kept_fraction`, in six digits.

        >>> SizeModel("speedup", 300, 180, "macs").limit(1 / 60)
        '2.43902'
        """
        # Twelve digits first: 0.1 + 0.2 is 0.30000000000000004 in floating point.
        requested = Decimal(f"{self.from_kept_fraction(kept_fraction):.12g}")
        rounding = ROUND_CEILING if self.unit == "density" else ROUND_FLOOR
        return f"{Context(prec=6, rounding=rounding).plus(requested):f}"


@dataclass(frozen=True)
class RequestedSize:
    """Says how much the removable part may still contain after a pruning.

    Args:
        keep: the size to keep.
        counts: what `keep` counts, as in SizeModel.
    """

    keep: int
    counts: str


def round_sizes(alive: int, end: float, counts: str, rounds: int) -> list[RequestedSize]:
    """Returns the requested size of each round, from the alive size to `end`; `counts` names both.

    Round k keeps round(alive (end / alive)^(k / rounds)), and the last round keeps round(end).
    `end` is not rounded before, so that a run and a call of the Python API use the same counts.

    >>> [size.keep for size in round_sizes(1000, 40.4, "parameters", rounds=4)]
    [448, 201, 90, 40]
    """
    return [RequestedSize(round(keep), counts) for keep in round_fractions(alive, end, rounds)]


def count_unit(unit: str, budget: str, equal_densities: bool = False, removes: bool = False) -> str:
    """Returns what a request in this unit counts under this budget of an allocation.

    A speed-up counts multiply-accumulates under any budget.

    equal_densities: the attribute of the allocation. removes: removed units take columns of other
    layers with them, so that sizes of the whole model are those of what is left.

    >>> [count_unit("density", budget) for budget in ("params", "macs")]
    ['parameters', 'macs']
    >>> count_unit("speedup", "params")
    'macs'
    >>> count_unit("density", "params", equal_densities=True)
    'units'
    >>> count_unit("compression", "params", removes=True)
    'parameters left'
    """
    counts = "macs" if budget == "macs" or unit == "speedup" else "parameters"
    if unit == "density":
        return "units" if equal_densities and counts == "parameters" else counts
    return counts + LEFT if removes else counts


def size_function(
    counts: str, layers: Layers, model: nn.Module, units: Units, model_info: ModelInfo
) -> Size:
    """Returns what computes sizes, in what `counts` names."""
    if counts == f"parameters{LEFT}":
        return parameters_of(model, units).removable
    if counts == f"macs{LEFT}":
        return macs_of(model, units, model_info.macs, model_info.other_macs).removable
    return partial(size_of, layers, counts=counts)


def size_of(layers: Layers, units: Counts, counts: str) -> int:
    return sum(units[name] * cost(layer, counts) for name, layer in layers.items())


def total_of(model: nn.Module, counts: str, macs: int) -> int:
    """Returns the size of the whole model, prunable or not.

    macs: multiply-accumulates of the dense model for one sample.
    """
    if counts.removesuffix(LEFT) == "macs":
        return macs
    return sum(parameter.numel() for parameter in model.parameters())


def cost(layer: Layer, counts: str) -> int:
    """Returns the size of one unit of the layer."""
    sizes = {"parameters": layer.parameters_per_unit, "macs": layer.macs_per_unit, "units": 1}
    return sizes[counts]


def counts_for(
    allocation: Allocation, layers: Layers, requested: RequestedSize, size: Size | None = None
) -> Counts:
    """Returns the units to keep per tensor, so that their size is `requested.keep`.

    The size is exact if all units cost the same. Otherwise the allocation distributes numbers of
    units, and the number with the nearest size is chosen; of two equally near sizes the smaller.
    Bisection finds that number where one unit more always has a larger size (Allocation.nested).
    For other rules bisection finds a crossing, and all numbers within SPAN of it are tried too.
    Counts are rounded to the layers' multiples before they are compared.

    size: of numbers of units per set; by default each set's number times its unit's cost.

    Raises:
        ValueError: the allocation cannot keep so few, or every unit has size 0.
    """
    alive = sum(layer.alive for layer in layers.values())
    size = size or partial(size_of, layers, counts=requested.counts)
    additive = () if requested.counts.endswith(LEFT) else layers.values()
    costs = {cost(layer, requested.counts) for layer in additive}
    if costs == {0}:
        raise ValueError(_nothing_to_remove(requested.counts))
    if len(costs) == 1 and not rounding.has_multiples(layers):
        unit_cost = costs.pop()
        nearest = -(-(2 * requested.keep - unit_cost) // (2 * unit_cost))  # the smaller on a tie
        return allocation.allocate(layers, min(nearest, alive))

    least = least_units(allocation, layers, requested, size)
    unrounded = partial(counts_for, allocation, requested=requested, size=size)
    rounded = rounding.rounded_rule(allocation, layers, unrounded)

    def off_by(keep: int) -> int:
        return size(rounded(keep)) - requested.keep

    low, high = least, alive
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if off_by(middle) <= 0 else (low, middle)
    if not allocation.nested:
        low, high = max(least, low - SPAN), min(alive, high + SPAN)
    offs = {keep: off_by(keep) for keep in range(low, high + 1)}
    return rounded(min(offs, key=lambda keep: (abs(offs[keep]), offs[keep])))


def least_units(
    allocation: Allocation, layers: Layers, requested: RequestedSize, size: Size
) -> int:
    """Returns the smallest number of units that the allocation can keep.

    Raises:
        Unreachable: the size of these units, rounded up, exceeds the requested size.
    """
    least = size(rounding.rounded_floors(allocation, layers))
    if least > requested.keep:
        whole = size({name: layer.units for name, layer in layers.items()})
        keys = rounding.floor_keys_of(allocation, layers)
        raise Unreachable(requested.keep, least, whole, keys, requested.counts)
    return sum(allocation.floors(layers).values())


def _nothing_to_remove(counts: str) -> str:
    return (
        f"the prunable layers have no {counts}; a forward pass multiplies by none of their weights"
    )
