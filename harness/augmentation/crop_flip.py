from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.augmentation.shared.pictures import check_largest, check_pictures
from harness.vocabulary.checks import check_declared

PADDING = "a whole number in [0, 256]; it counts pixels, write 0 for no crop"


@dataclass(frozen=True)
class CropFlip:
    """Crops the padded image to its own size, then mirrors it in half the cases.

    padding: pixels on every side; the (2 padding + 1)^2 crops are equally likely. 0: no crop.
    flip: left to right, with probability 1/2. fill: what the padding holds. zero is in the scale
    of the inputs: the mean if these were normalised. reflect mirrors the image at its outermost
    pixels, which are not repeated.

    Source: He et al. 2016, Deep Residual Learning (arXiv:1512.03385), section 4.2: padding 4.
    Zagoruyko & Komodakis 2016, Wide Residual Networks (arXiv:1605.07146), section 3: reflections.

    Raises:
        ValueError: padding is not a whole number >= 0, flip is not true or false, or fill is
            neither zero nor reflect.
    """

    padding: Annotated[int, PADDING] = 4
    flip: bool = True
    fill: Literal["zero", "reflect"] = "zero"

    draws: ClassVar[int] = 3  # top, left, flip

    def __post_init__(self) -> None:
        check_declared(self)

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        height, width = check_pictures(inputs, "crop_flip")
        top, left = (draws[:, :2] * (2 * self.padding + 1)).long().split(1, dim=1)
        rows = top + torch.arange(height, device=inputs.device)
        columns = torch.arange(width, device=inputs.device).expand(len(inputs), -1)
        if self.flip:
            columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
        columns = columns + left
        if self.fill == "zero":
            return _gather(F.pad(inputs, [self.padding] * 4), rows, columns)
        check_largest("padding", self.padding, min(height, width) - 1, (height, width))
        return _gather(inputs, self._reflected(rows, height), self._reflected(columns, width))

    def _reflected(self, positions: Tensor, size: int) -> Tensor:
        """Returns the pixel of the image that each pixel of the padded image repeats."""
        return size - 1 - (size - 1 - (positions - self.padding).abs()).abs()


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Gathers pixels of images.

    rows: (samples, height), columns: (samples, width), of the result.
    """
    samples, channels, _, width = images.shape
    flat_indices = rows.unsqueeze(2) * width + columns.unsqueeze(1)
    per_channel = flat_indices.flatten(1).unsqueeze(1).expand(-1, channels, -1)
    shape = (samples, channels, rows.shape[1], columns.shape[1])
    return images.flatten(2).gather(2, per_channel).view(shape)
