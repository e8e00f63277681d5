"""What a target counts (parameters, multiply-accumulates), and counts that meet it."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from torch import nn

from harness.allocation.base import Allocation, Layer, Layers, Unreachable
from harness.schedule.base import path
from harness.vocabulary.tensors import Counts

# Who asks for a limit of reach in six digits, rounded to either side, gets the limit.
ROUNDING = 1e-5
# Rounding moves a count by less than one unit, so what a rule holds wavers by a few units' cost.
SPAN = 128


@dataclass(frozen=True)
class SizeModel:
    """What a model has of a thing, and how much of it pruning can remove.

    A density is of what can be removed: the units that the structure may prune after `exclude`.
    Compression and speed-up are of the whole model.

    counts: "parameters", "macs" (of one sample), or "units".
    """

    unit: str  # of what is asked: "density", "compression" or "speedup"
    total: int  # of the whole model; for a density, what is removable
    removable: int  # in the units that the structure prunes
    counts: str

    def to_kept_fraction(self, requested: float) -> float:
        """Kept share of the removable part at which the model reaches what is asked.

        asked: a density in (0, 1], which is that share, or a compression or speed-up >= 1.

        Raises:
            ValueError: what is never removed alone exceeds it; it names the reachable limit. Or
                nothing can be removed.
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
        """Returns the inverse of to_kept_fraction: a density, compression or speed-up."""
        if self.unit == "density":
            return kept_fraction
        remaining = self.total - self.removable + kept_fraction * self.removable
        return self.total / remaining if remaining else float("inf")

    def limit(self, kept_fraction: float) -> str:
        """What asks for at least `share`, in six digits: the nearest that the model can reach.

        >>> SizeModel("speedup", 300, 180, "macs").limit(1 / 60)
        '2.43902'
        """
        # Twelve digits first: 0.1 + 0.2 is 0.30000000000000004 in floating point.
        requested = Decimal(f"{self.from_kept_fraction(kept_fraction):.12g}")
        rounding = ROUND_CEILING if self.unit == "density" else ROUND_FLOOR
        return f"{Context(prec=6, rounding=rounding).plus(requested):f}"


@dataclass(frozen=True)
class RequestedSize:
    """How much the removable part may still hold after the event."""

    keep: int
    counts: str  # as in SizeModel


def round_sizes(alive: int, end: float, counts: str, rounds: int) -> list[RequestedSize]:
    """Returns the goal of each round from what is alive to `end`, both in what `counts` names.

    Round k keeps round(alive (end / alive)^(k / rounds)), the last one round(end). `end` is not
    rounded before, so that a run and a call of the Python API go through the same counts.

    >>> [goal.keep for goal in round_sizes(1000, 40.4, "parameters", rounds=4)]
    [448, 201, 90, 40]
    """
    return [RequestedSize(round(keep), counts) for keep in path(alive, end, rounds)]


def count_unit(unit: str, budget: str, equal_densities: bool = False) -> str:
    """What a target in this unit counts under this budget of an allocation.

    A speed-up counts multiply-accumulates under any. equal_densities: of the allocation.

    >>> [count_unit("density", budget) for budget in ("params", "macs")]
    ['parameters', 'macs']
    >>> count_unit("speedup", "params")
    'macs'
    >>> count_unit("density", "params", equal_densities=True)
    'units'
    """
    if budget == "macs" or unit == "speedup":
        return "macs"
    return "units" if unit == "density" and equal_densities else "parameters"


def total_of(model: nn.Module, counts: str, macs: int) -> int:
    """What the model has, prunable or not; macs: of the whole dense network, one sample."""
    if counts == "macs":
        return macs
    return sum(parameter.numel() for parameter in model.parameters())


def cost(layer: Layer, counts: str) -> int:
    """Of one unit of the layer."""
    return {
        "parameters": layer.parameters_per_unit,
        "macs": layer.macs_per_unit,
        "units": 1,
    }[counts]


def size_of(layers: Layers, units: Counts, counts: str) -> int:
    return sum(units[name] * cost(layer, counts) for name, layer in layers.items())


def counts_for(allocation: Allocation, layers: Layers, requested: RequestedSize) -> Counts:
    """Units to keep per tensor so that they hold `goal.keep` of what it counts.

    Exactly, when every unit costs the same. Else the allocation shares numbers of units, and the
    one whose counts come nearest is taken, of two equally near ones that which holds less.
    Bisection finds it where one unit more always holds more (Allocation.nested); for other rules
    it finds a crossing, and the numbers within SPAN of it are tried too.

    Raises:
        ValueError: the allocation cannot keep so few, or no unit holds anything of the kind.
    """
    alive = sum(layer.alive for layer in layers.values())
    costs = {cost(layer, requested.counts) for layer in layers.values()}
    if costs == {0}:
        raise ValueError(_nothing_to_remove(requested.counts))
    if len(costs) == 1:
        unit_cost = costs.pop()
        nearest = -(-(2 * requested.keep - unit_cost) // (2 * unit_cost))  # the smaller on a tie
        return allocation.allocate(layers, min(nearest, alive))

    def off_by(keep: int) -> int:
        return size_of(layers, allocation.allocate(layers, keep), requested.counts) - requested.keep

    least = least_units(allocation, layers, requested)
    low, high = least, alive
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if off_by(middle) <= 0 else (low, middle)
    if not allocation.nested:
        low, high = max(least, low - SPAN), min(alive, high + SPAN)
    offs = {keep: off_by(keep) for keep in range(low, high + 1)}
    return allocation.allocate(layers, min(offs, key=lambda keep: (abs(offs[keep]), offs[keep])))


def least_units(allocation: Allocation, layers: Layers, requested: RequestedSize) -> int:
    """The least units that can be kept.

    Raises:
        Unreachable: they hold more than the goal.
    """
    units = allocation.floors(layers)
    least = size_of(layers, units, requested.counts)
    if least > requested.keep:
        dense = {name: layer.units for name, layer in layers.items()}
        whole = size_of(layers, dense, requested.counts)
        raise Unreachable(requested.keep, least, whole, allocation.floor_keys, requested.counts)
    return sum(units.values())


def _nothing_to_remove(counts: str) -> str:
    return f"what shall be pruned holds no {counts}: one forward pass multiplies by none of it"
