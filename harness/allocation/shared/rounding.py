"""Rounds the numbers of units that an allocation proposes, where a structure asks for multiples."""

from collections.abc import Callable
from dataclasses import replace

from harness.allocation.base import Allocation, Layer, Layers
from harness.vocabulary.tensors import Counts


def rounded_rule(
    allocation: Allocation,
    layers: Layers,
    unrounded: Callable[[Layers], Counts],
    at: Callable[[int], Counts],
) -> Callable[[int], Counts]:
    """Returns what the allocation proposes by number, each count rounded.

    A count is the nearest multiple of the layer's (of two equally near the smaller), but at least
    its floor, rounded up. Layers that keep units without rounding keep some. The counts may sum to
    another number.

    unrounded: returns the counts of layers that are not rounded, for the size that is sought.
    at: the allocation's proposals.
    """
    if not has_multiples(layers):
        return at
    plain = unrounded({name: replace(layer, multiple=1) for name, layer in layers.items()})
    floors = rounded_floors(allocation, layers)
    least = {n: max(floors[n], above(min(1, plain[n]), layer)) for n, layer in layers.items()}

    def rounded(number: int) -> Counts:
        counts = at(number)
        return {name: max(least[name], nearest(counts[name], layers[name])) for name in layers}

    return rounded


def rounded_floors(allocation: Allocation, layers: Layers) -> Counts:
    """Returns the floors, each rounded up."""
    return {name: above(floor, layers[name]) for name, floor in allocation.floors(layers).items()}


def floor_keys_of(allocation: Allocation, layers: Layers) -> str:
    """Returns the keys that decide the floors."""
    steps = " in steps of structure.round_to" if has_multiples(layers) else ""
    return allocation.floor_keys + steps


def has_multiples(layers: Layers) -> bool:
    return any(layer.multiple > 1 for layer in layers.values())


def nearest(count: int, layer: Layer) -> int:
    """Returns the nearest number of units that may stay: a multiple, or all.

    Of units that earlier masks left as no multiple, those beyond the last multiple go.
    """
    below, upper = count // layer.multiple * layer.multiple, above(count, layer)
    return below if count - below <= upper - count else upper


def above(count: int, layer: Layer) -> int:
    """Returns the least number of units that may stay and is not below the count, or the most."""
    alive, step = layer.alive, layer.multiple
    most = alive if alive == layer.units or alive < step else alive // step * step
    return min(-(-count // step) * step, most)
