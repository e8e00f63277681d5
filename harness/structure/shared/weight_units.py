"""Defines units inside one weight: single entries, blocks, patterns."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from harness.groups.units import UnitSet
from harness.vocabulary.tensors import Companions, Tensors


@dataclass(frozen=True, eq=False)
class WeightUnits(UnitSet):
    """Holds units inside one weight. Nothing else is masked.

    Args:
        name: of the weight.
        shape: of the weight.
        single: a unit is one entry.
        pooling: returns one score per unit of the elements' scores.
        expanding: returns the elements' mask from that of the units and the weight's shape.
    """

    name: str
    shape: tuple[int, ...]
    single: bool
    pooling: Callable[[Tensor], Tensor]
    expanding: Callable[[Tensor, tuple[int, ...]], Tensor]
    has_rows: bool = False

    @property
    def weights(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.name,)

    @property
    def scored(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.name,)

    @property
    def masked(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.name,)

    @cached_property
    def size(self) -> int:  # type: ignore[override]
        if self.single:
            return 1
        return math.prod(self.shape) // self.pooling(torch.ones(self.shape)).numel()

    @property
    def companions(self) -> Companions:
        return {self.name: ()}

    def pool(self, scores: Tensors) -> Tensor:
        return self.pooling(scores[self.name])

    def topology(self, model: nn.Module) -> tuple[object, ...]:
        return (type(model.get_submodule(self.name.rpartition(".")[0])).__name__,)

    def masks(self, kept: Tensor) -> Tensors:
        return {self.name: self.expanding(kept, self.shape)}

    def alive(self, kept: Tensors) -> Tensor:
        nonzero = kept[self.name] != 0
        # Pooling the mask works for any units.
        return nonzero if self.single else self.pooling(nonzero.float()) > 0
