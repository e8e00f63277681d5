from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from harness.mixing.cutmix import CUTMIX_ALPHA, Cutmix
from harness.mixing.mixup import MIXUP_ALPHA, Mixup
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class MixupOrCutmix:
    """Mixes each batch by mixup, or with probability cutmix_share by cutmix.

    Source: Touvron et al. 2021, DeiT (arXiv:2012.12877), table 9: mixup with alpha 0.8 and cutmix
    with 1.0, equally often as in timm.

    Raises:
        ValueError: a value is out of its range.
    """

    mixup_alpha: Annotated[float, MIXUP_ALPHA] = 0.8
    cutmix_alpha: Annotated[float, CUTMIX_ALPHA] = 1.0
    cutmix_share: Annotated[float, "a number in [0, 1]"] = 0.5

    draws: ClassVar[int] = 1 + Cutmix.draws

    def __post_init__(self) -> None:
        check_declared(self)

    def mix(self, inputs: Tensor, partners: Tensor, draws: Sequence[float]) -> tuple[Tensor, float]:
        if draws[0] < self.cutmix_share:
            return Cutmix(self.cutmix_alpha).mix(inputs, partners, draws[1:])
        return Mixup(self.mixup_alpha).mix(inputs, partners, draws[1:])
