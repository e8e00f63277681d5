from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.structure.shared.rows import Rows


@dataclass(frozen=True)
class Filter(Rows):
    """Prunes filters: the first dimension of a convolution's weight (out, in / groups, ...).

    Linear layers stay dense. With pool_by=sum on magnitude this is the L1 criterion of
    Li et al. 2017 (arXiv:1608.08710).
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    noun: ClassVar[str] = "filter"
