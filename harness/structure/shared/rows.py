"""Implements filters, neurons and rows: the units of groups that layers of some kinds compute."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.groups.group import Group
from harness.structure.shared.grouped import Grouped, Layers


@dataclass(frozen=True)
class Rows(Grouped):
    """Prunes the output units of some kinds of layers, each with all that belongs to it.

    Groups with rows in layers of other kinds too stay whole.
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]]

    def is_concerned(self, group: Group, weights: tuple[str, ...], layers: Layers) -> bool:
        return any(isinstance(layers[name], self.kinds) for name in weights)

    def why_whole(
        self, model: nn.Module, group: Group, weights: tuple[str, ...], layers: Layers
    ) -> str:
        others = [name for name in weights if not isinstance(layers[name], self.kinds)]
        if others and not group.pinned:
            return f"{others[0].removesuffix('.weight')} computes a part of each unit"
        return super().why_whole(model, group, weights, layers)

    def missing(self, layers: Layers) -> str:
        kinds = sorted({type(layer).__name__ for layer in layers.values()})
        return f"the model's layers are {', '.join(kinds)}, and outputs are never removed"
