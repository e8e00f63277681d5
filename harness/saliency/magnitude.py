from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.saliency.base import Saliency
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Magnitude(Saliency):
    """|weight| (norm="l1") or weight^2 ("l2"): small weights are pruned first. Needs no data.

    Single weights rank alike in both. A structure that pools by sum makes them a unit's L1 norm
    (Li et al. 2017, arXiv:1608.08710) or its squared L2 norm, which rank differently.

    Source: Han et al. 2015, Learning both Weights and Connections (arXiv:1506.02626). They cut
    each layer at a multiple of its standard deviation; here an allocation decides.

    Raises:
        ValueError: norm is neither.
    """

    norm: Literal["l1", "l2"] = "l1"

    any_parameter: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        size = Tensor.abs if self.norm == "l1" else Tensor.square
        return {name: size(weight) for name, weight in weights.items()}
