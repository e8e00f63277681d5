from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.vocabulary.checks import check_declared

PADDING = "a whole number in [0, 256]; it counts pixels, write 0 for no crop"


@dataclass(frozen=True)
class CropFlip:
    """Crops the zero-padded image to its own size, then mirrors it in half the cases.

    padding: pixels on every side; the (2 padding + 1)^2 crops are equally likely. 0: no crop.
    flip: left to right, with probability 1/2. The zeros are in the scale of the inputs: the mean
    if these were normalised.

    Source: He et al. 2016, Deep Residual Learning (arXiv:1512.03385), section 4.2: padding 4.

    Raises:
        ValueError: padding is not a whole number >= 0, or flip is not true or false.
    """

    padding: Annotated[int, PADDING] = 4
    flip: bool = True

    draws: ClassVar[int] = 3  # top, left, flip

    def __post_init__(self) -> None:
        check_declared(self)

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        if inputs.dim() != 4:
            raise ValueError(
                "crop_flip needs images (samples, channels, height, width), got inputs of shape "
                f"{tuple(inputs.shape)}; choose image data, or no augmentation"
            )
        height, width = inputs.shape[2:]
        top, left = (draws[:, :2] * (2 * self.padding + 1)).long().split(1, dim=1)
        rows = top + torch.arange(height, device=inputs.device)
        columns = torch.arange(width, device=inputs.device).expand(len(inputs), -1)
        if self.flip:
            columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
        return self._gather(inputs, rows, columns + left)

    def _gather(self, inputs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Gathers pixels of the padded images.

        rows: (samples, height), columns: (samples, width).
        """
        padded = F.pad(inputs, [self.padding] * 4)
        flat_indices = rows.unsqueeze(2) * padded.shape[3] + columns.unsqueeze(1)
        per_channel = flat_indices.flatten(1).unsqueeze(1).expand(-1, inputs.shape[1], -1)
        return padded.flatten(2).gather(2, per_channel).view(inputs.shape)
