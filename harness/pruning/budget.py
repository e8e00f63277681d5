"""Counts parameters or multiply-accumulates, and finds units per layer for a requested size."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import partial

from harness.allocation.base import Allocation, Layers, Size, Unreachable
from harness.allocation.shared import rounding
from harness.pruning.sizes import LEFT, cost, size_of
from harness.schedule.base import round_fractions
from harness.vocabulary.tensors import Counts

# A requested value that is the reachable limit in six digits, rounded up or down, is accepted.
ROUNDING = 1e-5
# Rounding moves a count by less than one unit, so the size of a rule's counts varies by a few
# units' cost.
SPAN = 128
HALVINGS = 30


@dataclass(frozen=True)
class SizeModel:
    """Holds the total size of a model, and how much of the total pruning can remove.

    A density refers to the removable part: the units that the structure may prune after `exclude`.
    Compression and speed-up refer to the whole model.

    Args:
        unit: the unit of the request: "density", "compression", "speedup" or "latency".
        total: the size of the whole model; for a density, the removable size.
        removable: the size of the units that the structure prunes.
        counts: what sizes count: "parameters", "macs" (of one sample), "units", or "nanoseconds"
            (by the latency table); with " left" behind it, of the network whose pruned units are
            cut out, columns included.
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

        requested: a density in (0, 1], which is that fraction, or dense / left >= 1.

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


def counts_for(
    allocation: Allocation, layers: Layers, requested: RequestedSize, size: Size | None = None
) -> Counts:
    """Returns the units to keep per tensor, so that their size is `requested.keep`.

    The size is exact if all units cost the same. Otherwise the allocation makes proposals, such as
    one per number of units, and the one with the nearest size is chosen; of two equally near sizes
    the smaller. Bisection finds it where the next proposal always has a larger size
    (Allocation.nested). For other rules bisection finds a crossing, and all proposals within SPAN
    of it are tried too.
    Counts are rounded to the layers' multiples before they are compared.

    size: of numbers of units per set; by default each set's number times its unit's cost.

    Raises:
        ValueError: the allocation cannot keep so few, or every unit has size 0.
    """
    size = size or partial(size_of, layers, counts=requested.counts)
    additive = () if requested.counts.endswith(LEFT) else layers.values()
    costs = {cost(layer, requested.counts) for layer in additive}
    if costs == {0}:
        raise ValueError(_nothing_to_remove(requested.counts))
    if len(costs) == 1 and not rounding.has_multiples(layers):
        unit_cost = costs.pop()
        nearest = -(-(2 * requested.keep - unit_cost) // (2 * unit_cost))  # the smaller on a tie
        alive = sum(layer.alive for layer in layers.values())
        return allocation.allocate(layers, min(nearest, alive))

    check_floors(allocation, layers, requested, size)
    proposals = allocation.proposals(layers, size)
    unrounded = partial(counts_for, allocation, requested=requested, size=size)
    rounded = rounding.rounded_rule(allocation, layers, unrounded, proposals.at)

    def off_by(number: int) -> int:
        return size(rounded(number)) - requested.keep

    low, high = proposals.least, proposals.most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if off_by(middle) <= 0 else (low, middle)
    if not allocation.nested:
        low, high = max(proposals.least, low - SPAN), min(proposals.most, high + SPAN)
    offs = {number: off_by(number) for number in range(low, high + 1)}
    return rounded(min(offs, key=lambda number: (abs(offs[number]), offs[number])))


def check_floors(
    allocation: Allocation, layers: Layers, requested: RequestedSize, size: Size
) -> None:
    """Checks that floors leave the requested size in reach.

    Raises:
        Unreachable: the size of the units that they hold, rounded up, exceeds it.
    """
    least = size(rounding.rounded_floors(allocation, layers))
    if least > requested.keep:
        whole = size({name: layer.units for name, layer in layers.items()})
        keys = rounding.floor_keys_of(allocation, layers)
        raise Unreachable(requested.keep, least, whole, keys, requested.counts)


def _nothing_to_remove(counts: str) -> str:
    return (
        f"the prunable layers have no {counts}; a forward pass multiplies by none of their weights"
    )
