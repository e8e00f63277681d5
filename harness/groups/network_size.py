"""Counts what is left of a network when only some units of its groups stay."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from harness.groups.units import RemovableUnits, Units
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class NetworkSize:
    """Counts entries of tensors whose dimensions lose indices.

    Args:
        shapes: of all parameters, and of products of two activations, by name.
        cuts: (name, dimension) -> (name of the units, indices that each removed one takes).
        uses: how often an entry of a parameter is counted; 1 for parameters, positions for
            multiply-accumulates.
        other: what is counted beside, and stays.
    """

    shapes: Mapping[str, tuple[int, ...]]
    cuts: Mapping[tuple[str, int], list[tuple[str, float]]]
    units: Counts
    uses: Mapping[str, float]
    other: float = 0

    def left(self, kept: Counts) -> int:
        """Returns sum over parameters of uses x product of the sizes that are left, rounded."""
        return round(self.other + sum(self._left_of(name, kept) for name in self.uses))

    def removed_by_one(self, units: str, kept: Counts) -> int:
        """Returns left(kept) - left(kept with one less of these units)."""
        fewer = {**kept, units: kept[units] - 1}
        touched = {name for (name, _), cuts in self.cuts.items() for u, _ in cuts if u == units}
        names = touched & self.uses.keys()
        return round(sum(self._left_of(n, kept) - self._left_of(n, fewer) for n in names))

    def sizes_left(self, name: str, kept: Counts) -> list[float]:
        """Returns the sizes of a tensor's dimensions that are left."""
        return [
            size - sum((self.units[u] - kept[u]) * n for u, n in self.cuts.get((name, dim), ()))
            for dim, size in enumerate(self.shapes[name])
        ]

    def _left_of(self, name: str, kept: Counts) -> float:
        return self.uses[name] * prod(self.sizes_left(name, kept))

    def removable(self, kept: Counts) -> int:
        """Returns what is left of the part that pruning can remove."""
        return self.left(kept) - self.left(dict.fromkeys(self.units, 0))


def parameters_of(model: nn.Module, units: Units) -> NetworkSize:
    """Returns a counter of the parameters that are left."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return _counter(shapes, units, dict.fromkeys(shapes, 1.0))


def macs_of(model: nn.Module, units: Units, macs: Counts, other: int) -> NetworkSize:
    """Returns a counter of the multiply-accumulates that are left.

    macs: of the dense model, by parameter. other: of products of two activations, of which those
        of heads and widths shrink with them.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    uses = {name: count / prod(shapes[name]) for name, count in macs.items() if prod(shapes[name])}
    return _counter(shapes, units, uses, other)


def products_left(units: Units, kept: Counts, other: int) -> int:
    """Returns what is left of the multiply-accumulates of products of two activations.

    other: of the dense model.
    """
    return _counter({}, units, {}, other).left(kept)


def _counter(
    shapes: Mapping[str, tuple[int, ...]], units: Units, uses: Mapping[str, float], other: int = 0
) -> NetworkSize:
    cuts: dict[tuple[str, int], list[tuple[str, float]]] = {}
    removable = {n: each for n, each in units.items() if isinstance(each, RemovableUnits)}
    for name, each in removable.items():
        for place, taken in each.cuts.items():
            cuts.setdefault(place, []).append((name, taken))
    every = (factor for each in removable.values() for factor in each.factors)
    factors = {factor.name: factor for factor in every} if other else {}
    # The trace may have run more samples than the count.
    counted = {name: other / factor.total for name, factor in factors.items()}
    whole = other - sum(uses * prod(factors[name].sizes) for name, uses in counted.items())
    sizes = {name: shape or (1,) for name, shape in shapes.items()}
    sizes |= {name: factor.sizes for name, factor in factors.items()}
    counts = {name: each.count for name, each in removable.items()}
    return NetworkSize(sizes, cuts, counts, {**uses, **counted}, whole)
