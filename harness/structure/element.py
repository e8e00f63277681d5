from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.groups.units import Units
from harness.structure.base import Pattern
from harness.vocabulary.tensors import prunable_weights


@dataclass(frozen=True)
class Element(Pattern):
    """Prunes single weights of convolution and linear layers; biases and norms stay."""

    granularity: ClassVar[str] = "weight"
    noun: ClassVar[str] = "weight"
    reads_sample: ClassVar[bool] = False

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        return self.units_in(prunable_weights(model))

    def pool(self, scores: Tensor) -> Tensor:
        return scores

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units
