from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from harness.tensors import Counts


@dataclass(frozen=True)
class Layer:
    """What an allocation may look at: one prunable tensor and its units."""

    shape: tuple[int, ...]  # of the weight
    kind: str  # class of the layer: "Linear", "Conv2d"
    position: int  # 0 is the first prunable layer of the model
    alive: int  # units not yet pruned
    scores: Tensor  # one per unit, higher stays; pruned units are -inf
    weights_per_unit: int
    parameters_per_unit: int  # with the bias and norm parameters that go with the unit

    @property
    def units(self) -> int:
        return self.scores.numel()


Layers = dict[str, Layer]


class Allocation(Protocol):
    """Shares a total between layers."""

    def allocate(self, layers: Layers, keep: int) -> Counts:
        """Units to keep per tensor: they sum to exactly `keep`, none exceeds what is alive."""
        ...
