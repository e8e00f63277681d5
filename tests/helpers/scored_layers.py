"""Layers of units with scores, for allocations to share among."""

import math
from dataclasses import replace
from typing import Any

import torch

from harness.allocation.base import Allocation, Layer, Layers

DEAD = -torch.inf


def layers(**scores: list[float]) -> Layers:
    """Returns linear layers with units of one weight each; -inf marks a pruned unit.

    The weights are the scores. The later the layer, the sooner the loss rises.
    """
    found = {}
    for position, (name, values) in enumerate(scores.items()):
        units = torch.tensor(values)
        alive = int((units > DEAD).sum())
        found[name] = Layer(
            (len(values), 1), "Linear", position, alive, units, 1,
            layer_count=len(scores),
            first=position == 0,
            last=position + 1 == len(scores),
            weight=units.masked_fill(units == DEAD, 0).view(-1, 1),
            curve=((1.0, 0.5), (0.5, 0.5), (0.2, 0.7 + position), (0.1, 0.6)),
        )  # fmt: skip
    return found


def random_layers(seed: int) -> Layers:
    """Returns a convolution and three linear layers of 1 to 30 units, with ties, a third pruned."""
    random = torch.Generator().manual_seed(seed)

    def units() -> list[float]:
        count = int(torch.randint(1, 31, (), generator=random))
        scores = torch.randint(0, 5, (count,), generator=random).float()
        scores[torch.rand(count, generator=random) < 0.35] = DEAD
        return scores.tolist()

    found = layers(a=units(), b=units(), c=units(), d=units())
    first = found["a"]
    return found | {"a": replace(first, shape=(first.units, 1, 1, 1), kind="Conv2d")}


def alive(found: Layers) -> int:
    return sum(layer.alive for layer in found.values())


def network(shapes: dict[str, tuple[int, ...]], rows: bool = False) -> Layers:
    """Returns layers of these shapes, all alive; units are single weights, or rows."""
    found = {}
    for position, (name, shape) in enumerate(shapes.items()):
        kind = "Linear" if len(shape) == 2 else f"Conv{len(shape) - 2}d"
        units = shape[0] if rows else math.prod(shape)
        each = math.prod(shape) // units
        scores = torch.ones(units)
        ends = {"first": position == 0, "last": position + 1 == len(shapes)}
        found[name] = Layer(
            shape, kind, position, units, scores, each, layer_count=len(shapes), **ends
        )
    return found


def with_floors(allocation: Allocation, **floors: Any) -> Allocation:
    return replace(allocation, **floors)
