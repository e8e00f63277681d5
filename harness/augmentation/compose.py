from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from harness.augmentation.base import Augmentation
from harness.augmentation.shared.on_pixels import with_scale
from harness.augmentation.shared.pixel_scale import PixelScale
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Compose:
    """Applies several augmentations one after another, each with draws of its own.

    Source: torchvision's Compose.

    Raises:
        ValueError: parts holds no augmentation.
    """

    parts: Annotated[Sequence[Augmentation], "not empty; write a list of parts with _target_"]

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def draws(self) -> int:
        return sum(part.draws for part in self.parts)

    def with_scale(self, scale: PixelScale | None) -> "Compose":
        return Compose([with_scale(part, scale) for part in self.parts])

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        own = draws.split([part.draws for part in self.parts], dim=1)
        for part, part_draws in zip(self.parts, own, strict=True):
            inputs = part.apply(inputs, part_draws)
        return inputs
