import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.augmentation.shared.pictures import check_pictures
from harness.vocabulary.checks import check_declared

ATTEMPTS = 10
SCALE = "a number in (0, 1]"
RATIO = "a number in (0, 100]"
TWO = "not empty; write two numbers, the smaller one first"


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crops a random part of the image, and enlarges it bilinearly to the image's own size.

    scale: smallest and largest area of the part, as a fraction of the image's. ratio: smallest and
    largest width / height of the part; its logarithm is uniform. Parts that do not fit are drawn
    again, ten times at most; then the largest part in the middle of an allowed ratio is taken.

    Source: Szegedy et al. 2015, Going Deeper with Convolutions (arXiv:1409.4842), section 6; the
    attempts are those of torchvision's RandomResizedCrop. A crop is never larger than its result,
    so that antialiasing would change nothing.

    Raises:
        ValueError: scale or ratio are not two positive numbers in rising order.
    """

    scale: Annotated[list[Annotated[float, SCALE]], TWO] = field(default_factory=lambda: [0.08, 1])
    ratio: Annotated[list[Annotated[float, RATIO]], TWO] = field(
        default_factory=lambda: [3 / 4, 4 / 3]
    )

    draws: ClassVar[int] = 2 * ATTEMPTS + 2  # area and ratio of each attempt, then top and left

    def __post_init__(self) -> None:
        check_declared(self)
        for key in ("scale", "ratio"):
            value = getattr(self, key)
            if len(value) != 2 or value[0] > value[1]:
                raise ValueError(
                    f"{key} must be two numbers, the smaller one first, got {list(value)}"
                )

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        height, width = check_pictures(inputs, "random_resized_crop")
        if not len(inputs):
            return inputs.clone()
        wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        top, left, high, broad = self.boxes(draws, height, width).double().split(1, dim=1)
        rows, columns = _sources(top, high, height), _sources(left, broad, width)
        grid = torch.stack(
            [
                columns.unsqueeze(1).expand(-1, height, -1),
                rows.unsqueeze(2).expand(-1, -1, width),
            ],
            dim=3,
        )
        found = F.grid_sample(wide, grid.to(wide.dtype), align_corners=False)
        return (found if inputs.is_floating_point() else found.round()).to(inputs.dtype)

    def boxes(self, draws: Tensor, height: int, width: int) -> Tensor:
        """Returns the cropped parts as (samples, 4): top, left, height, width, int64."""
        areas, ratios = draws[:, :ATTEMPTS], draws[:, ATTEMPTS : 2 * ATTEMPTS]
        area = height * width * (self.scale[0] + areas * (self.scale[1] - self.scale[0]))
        low, high = map(math.log, self.ratio)
        ratio = torch.exp(low + ratios * (high - low))
        broad, tall = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (broad > 0) & (broad <= width) & (tall > 0) & (tall <= height)
        first = fits.byte().argmax(dim=1, keepdim=True)
        fitting = fits.gather(1, first)
        largest_tall, largest_broad = self._largest(height, width)
        tall = torch.where(fitting, tall.gather(1, first), largest_tall)
        broad = torch.where(fitting, broad.gather(1, first), largest_broad)
        free = torch.cat([height - tall, width - broad], dim=1)
        corner = torch.where(fitting, (draws[:, -2:] * (free + 1)).long(), free // 2)
        return torch.cat([corner, tall, broad], dim=1)

    def _largest(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of the largest part with an allowed ratio."""
        if width / height < self.ratio[0]:
            return min(height, max(1, round(width / self.ratio[0]))), width
        if width / height > self.ratio[1]:
            return height, min(width, max(1, round(height * self.ratio[1])))
        return height, width


def _sources(first: Tensor, length: Tensor, size: int) -> Tensor:
    """Returns the position of each result pixel along one side, as grid_sample counts them.

    first, length: (samples, 1), of the cropped part. Positions stay between the centres of its
    outermost pixels, so that pixels beside the part play no role.
    """
    steps = torch.arange(size, dtype=torch.float64, device=first.device) + 0.5
    positions = (steps * length / size - 0.5).clamp(min=0).minimum(length - 1) + first
    return (2 * positions + 1) / size - 1
