"""Counts what is left of a network when only some units of its groups stay."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from harness.groups.units import GroupUnits, Units
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class NetworkSize:
    """Counts entries of tensors whose dimensions lose indices.

    Args:
        shapes: of all parameters, by name.
        cuts: (parameter, dimension) -> (name of the units, indices that each removed one takes).
        uses: how often an entry of a parameter is counted; 1 for parameters, positions for
            multiply-accumulates.
        other: what is counted beside, and stays.
    """

    shapes: Mapping[str, tuple[int, ...]]
    cuts: Mapping[tuple[str, int], list[tuple[str, int]]]
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

    def _left_of(self, name: str, kept: Counts) -> float:
        sizes = (
            size - sum((self.units[u] - kept[u]) * n for u, n in self.cuts.get((name, dim), ()))
            for dim, size in enumerate(self.shapes[name])
        )
        return self.uses[name] * prod(sizes)

    def removable(self, kept: Counts) -> int:
        """Returns what is left of the part that pruning can remove."""
        return self.left(kept) - self.left(dict.fromkeys(self.units, 0))


def parameters_of(model: nn.Module, units: Units) -> NetworkSize:
    """Returns a counter of the parameters that are left."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return _counter(shapes, units, dict.fromkeys(shapes, 1.0))


def macs_of(model: nn.Module, units: Units, macs: Counts, other: int) -> NetworkSize:
    """Returns a counter of the multiply-accumulates that are left.

    macs: of the dense model, by parameter. other: of products of two activations, which stay.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    uses = {name: count / prod(shapes[name]) for name, count in macs.items() if prod(shapes[name])}
    return _counter(shapes, units, uses, other)


def _counter(
    shapes: Mapping[str, tuple[int, ...]], units: Units, uses: Mapping[str, float], other: int = 0
) -> NetworkSize:
    cuts: dict[tuple[str, int], list[tuple[str, int]]] = {}
    counts = {}
    for name, each in units.items():
        assert isinstance(each, GroupUnits)
        counts[name] = each.group.units
        for member in each.group.members:
            own = cuts.setdefault((member.name, member.dim), [])
            own.append((name, member.indices.shape[1]))
    return NetworkSize(shapes, cuts, counts, uses, other)
