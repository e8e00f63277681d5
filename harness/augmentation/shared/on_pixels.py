"""Lets an augmentation of pixels act on normalised inputs."""

from dataclasses import dataclass

from torch import Tensor

from harness.augmentation.base import Augmentation
from harness.augmentation.shared.pixel_scale import PixelScale


@dataclass(frozen=True)
class OnPixels:
    """Applies an augmentation to the pixels of the inputs, and normalises its result again.

    A picture that the augmentation leaves as it is comes back bit for bit in float32 and wider.
    """

    augmentation: Augmentation
    scale: PixelScale

    @property
    def draws(self) -> int:
        return self.augmentation.draws

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        changed = self.augmentation.apply(self.scale.pixels_of(inputs), draws)
        return self.scale.inputs_of(changed, inputs)


def with_scale(augmentation: Augmentation, scale: PixelScale | None) -> Augmentation:
    """Returns an augmentation for inputs of this scale; None: the scale is not known.

    Raises:
        ValueError: it needs pixels, and the scale is not known.
    """
    own = getattr(augmentation, "with_scale", None)
    made: Augmentation = augmentation if own is None else own(scale)
    return made
