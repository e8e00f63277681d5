from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.structure.base import Pattern


@dataclass(frozen=True)
class KernelRow(Pattern):
    """Prunes rows of the kernels of a convolution, for each pair (output, input) of channels.

    No other parameter is removed with them; linear layers stay dense. Source: Mao et al. 2017,
    Exploring the Regularity of Sparse Structure in Convolutional Neural Networks
    (arXiv:1705.08922), 1-D granularity.
    """

    granularity: ClassVar[str] = "unit"
    noun: ClassVar[str] = "kernel row"
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv2d,)

    def pool(self, scores: Tensor) -> Tensor:
        return scores.mean(dim=3)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units[..., None].expand(shape).contiguous()
