from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.structure.base import Pattern


@dataclass(frozen=True)
class Element(Pattern):
    """Prunes single weights of convolution and linear layers; biases and norms stay."""

    granularity: ClassVar[str] = "weight"
    noun: ClassVar[str] = "weight"

    def pool(self, scores: Tensor) -> Tensor:
        return scores

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units
