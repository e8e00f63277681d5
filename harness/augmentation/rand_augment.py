import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from harness.augmentation.shared import colours, warps
from harness.augmentation.shared.on_pixels import OnPixels
from harness.augmentation.shared.pictures import check_pictures
from harness.augmentation.shared.pixel_scale import PixelScale
from harness.vocabulary.checks import check_declared

BINS = 31
NAMES = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness",
    "color", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
# (pictures, signs, magnitude) -> pictures. signs: (samples,), 1 or -1.
Operation = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class RandAugment:
    """Changes each image by some of 14 operations, drawn with equal probability, one after another.

    identity, shear_x, shear_y, translate_x, translate_y, rotate, brightness, color, contrast,
    sharpness, posterize, solarize, autocontrast, equalize. operations: how many; one may be drawn
    twice. magnitude: strength of all of them, of 30. Directions are drawn, where there are two.
    What an operation moves in from outside is black. It is defined on pixels: inputs are turned
    back to them by the split's mean and std, and normalised again.

    Source: Cubuk et al. 2020, RandAugment (arXiv:1909.13719), section 3; operations and strengths
    are those of torchvision's RandAugment with 31 magnitudes.

    Raises:
        ValueError: operations or magnitude is not a whole number in its range.
    """

    operations: Annotated[int, "a whole number in [1, 14]; write e.g. 2"] = 2
    magnitude: Annotated[int, "a whole number in [0, 30]; write e.g. 9"] = 9

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def draws(self) -> int:
        return 2 * self.operations  # of each: which one, in which direction

    def with_scale(self, scale: PixelScale | None) -> OnPixels:
        if scale is None:
            raise ValueError(
                "rand_augment needs the pixels of images, and this data set does not say how its "
                "inputs were made of them; give its splits mean and std, or choose crop_flip"
            )
        return OnPixels(self, scale)

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        check_pictures(inputs, "rand_augment")
        if inputs.dtype != torch.uint8 or inputs.shape[1] not in (1, 3):
            raise ValueError(
                f"rand_augment needs pixels (uint8) of 1 or 3 channels, got {inputs.dtype} of "
                f"shape {tuple(inputs.shape)}; choose other data, or crop_flip"
            )
        inputs = inputs.clone()
        for number in range(self.operations):
            which = (draws[:, 2 * number] * len(NAMES)).long()
            signs = torch.where(draws[:, 2 * number + 1] < 0.5, -1.0, 1.0)
            inputs = self._changed(inputs, which, signs)
        return inputs

    def _changed(self, pictures: Tensor, which: Tensor, signs: Tensor) -> Tensor:
        """Returns each picture after the operation with its number in NAMES."""
        found = pictures
        for number, name in enumerate(NAMES[1:], start=1):
            # All pictures go through all operations, so that nothing waits for the device.
            chosen = (which == number)[:, None, None, None]
            found = torch.where(chosen, OPERATIONS[name](pictures, signs, self.magnitude), found)
        return found


def strength(lowest: float, highest: float, magnitude: int) -> float:
    """Returns the value of a magnitude between those of the first and the last one.

    >>> strength(0, 30, 10), strength(1, 0, 30)
    (10.0, 0.0)
    """
    return float(torch.linspace(lowest, highest, BINS)[magnitude])


def bits_left(magnitude: int) -> int:
    """Returns the bits of a pixel that posterize leaves.

    >>> bits_left(0), bits_left(9), bits_left(30)
    (8, 7, 4)
    """
    return round(8 - magnitude / ((BINS - 1) / 4))


def _shear_x(pictures: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    return warps.sheared(pictures, signs * strength(0, 0.3, magnitude), signs * 0)


def _shear_y(pictures: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    return warps.sheared(pictures, signs * 0, signs * strength(0, 0.3, magnitude))


def _translate_x(pictures: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    pixels = int(strength(0, 150 / 331 * pictures.shape[3], magnitude))
    return warps.shifted(pictures, signs * pixels, signs * 0)


def _translate_y(pictures: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    pixels = int(strength(0, 150 / 331 * pictures.shape[2], magnitude))
    return warps.shifted(pictures, signs * 0, signs * pixels)


def _rotate(pictures: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    return warps.rotated(pictures, signs.double() * math.radians(strength(0, 30, magnitude)))


def _enhancing(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    def enhanced(pictures: Tensor, signs: Tensor, magnitude: int) -> Tensor:
        return function(pictures, 1 + signs.double() * strength(0, 0.9, magnitude))

    return enhanced


OPERATIONS: dict[str, Operation] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _enhancing(colours.brightened),
    "color": _enhancing(colours.saturated),
    "contrast": _enhancing(colours.contrasted),
    "sharpness": _enhancing(colours.sharpened),
    "posterize": lambda pictures, _, m: colours.posterized(pictures, bits_left(m)),
    "solarize": lambda pictures, _, m: colours.solarized(pictures, 255 * strength(1, 0, m)),
    "autocontrast": lambda pictures, *_: colours.autocontrasted(pictures),
    "equalize": lambda pictures, *_: colours.equalized(pictures),
}
