from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from harness.groups.pooling import Pooling, pooled
from harness.structure.base import Pattern
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Kernel(Pattern):
    """Prunes kernels w[o, i]: one (kh x kw) slice per output and input channel of a convolution.

    Of a grouped convolution there is one per output channel and input channel of its group.
    Transposed and one- and three-dimensional convolutions have kernels too; linear layers stay
    dense. Kernels are masked, and nothing is removed: an output whose kernels are all pruned keeps
    its bias and norm. Output layers are pruned too.

    Source: Mao et al. 2017, Exploring the Regularity of Sparse Structure in Convolutional Neural
    Networks (arXiv:1705.08922), "2-D" granularity, pooled by sum. The scores of a kernel are pooled
    by mean here, as other units.

    Raises:
        ValueError: pool_by is unknown.
    """

    pool_by: Pooling = "mean"

    granularity: ClassVar[str] = "unit"
    noun: ClassVar[str] = "kernel"
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (_ConvNd,)

    def __post_init__(self) -> None:
        check_declared(self)

    def pool(self, scores: Tensor) -> Tensor:
        return pooled(scores.flatten(2), (2,), self.pool_by)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.view(*shape[:2], *[1] * (len(shape) - 2)).expand(shape).contiguous()
