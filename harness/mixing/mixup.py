from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from harness.mixing.shared.beta import beta_quantile
from harness.mixing.shared.inputs import check_real
from harness.vocabulary.checks import check_declared

MIXUP_ALPHA = (
    "a number in (0, 10]; write e.g. 0.2, the smaller, the closer to one of the two samples"
)


@dataclass(frozen=True)
class Mixup:
    """w x + (1 - w) x' for a sample and its partner, with one w of Beta(alpha, alpha) per batch.

    Source: Zhang et al. 2018, mixup (arXiv:1710.09412), equation 1; alpha 0.2 for ImageNet and 1
    for CIFAR. Their code draws a permutation of the batch; here and in torchvision the partner is
    the sample before, in an order that is random already.

    Raises:
        ValueError: alpha is not in (0, 10].
    """

    alpha: Annotated[float, MIXUP_ALPHA] = 0.2

    draws: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_declared(self)

    def mix(self, inputs: Tensor, partners: Tensor, draws: Sequence[float]) -> tuple[Tensor, float]:
        check_real(inputs, "mixup")
        weight = beta_quantile(draws[0], self.alpha)
        return partners.mul(1 - weight).add_(inputs.mul(weight)), weight
