from dataclasses import dataclass

from torch import Tensor

from harness.saliency.base import Saliency
from harness.vocabulary.checks import check_either
from harness.vocabulary.tensors import Tensors

NORMS = ("l1", "l2")


@dataclass(frozen=True)
class Magnitude(Saliency):
    """|weight| (norm="l1") or weight^2 ("l2"): small weights are pruned first. Needs no data.

    Single weights rank alike in both. A structure that pools by sum makes them a unit's L1 norm
    (Li et al. 2017, arXiv:1608.08710) or its squared L2 norm, which rank differently.

    Source: Han et al. 2015, Learning both Weights and Connections (arXiv:1506.02626). They cut
    each layer at a multiple of its standard deviation; here an allocation decides.

    Raises:
        ValueError: norm is not in NORMS.
    """

    norm: str = "l1"

    def __post_init__(self) -> None:
        check_either("norm", self.norm, NORMS)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        size = Tensor.abs if self.norm == "l1" else Tensor.square
        return {name: size(weight) for name, weight in weights.items()}
