import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from harness.mixing.shared.beta import beta_quantile
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.images import check_images

CUTMIX_ALPHA = "a number in (0, 10]; write e.g. 1.0, with which all areas are equally likely"


@dataclass(frozen=True)
class Cutmix:
    """Puts a box of the partner's image in the place of the sample's, one box per batch.

    The box has 1 - w of the area, w of Beta(alpha, alpha), and its centre is any pixel. Beyond the
    image's edge it is cut off. The own labels' weight is the share of the area that is left.

    Source: Yun et al. 2019, CutMix (arXiv:1905.04899), section 3.1; sides are rounded as in
    torchvision's CutMix, and partners are as those of mixup.

    Raises:
        ValueError: alpha is not in (0, 10].
    """

    alpha: Annotated[float, CUTMIX_ALPHA] = 1.0

    draws: ClassVar[int] = 3  # area, column and row of the centre

    def __post_init__(self) -> None:
        check_declared(self)

    def mix(self, inputs: Tensor, partners: Tensor, draws: Sequence[float]) -> tuple[Tensor, float]:
        height, width = check_images(inputs, "mixing=cutmix", "choose mixing=mixup, or none")
        side = 0.5 * math.sqrt(1 - beta_quantile(draws[0], self.alpha))  # half of it
        left, right = _span(draws[1], side, width)
        top, bottom = _span(draws[2], side, height)
        mixed = inputs.clone()
        mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
        return mixed, 1 - (right - left) * (bottom - top) / (height * width)


def _span(draw: float, side: float, size: int) -> tuple[int, int]:
    """Returns the first pixel of the box in one dimension, and the first one after it."""
    centre, half = int(draw * size), int(side * size)
    return max(centre - half, 0), min(centre + half, size)
