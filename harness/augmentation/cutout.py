from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from harness.augmentation.shared.pictures import check_largest, check_pictures
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Cutout:
    """Sets a square of every image to zero, whose centre is any pixel with equal probability.

    Beyond the image's edge the square is cut off, so that the erased area varies. The zeros are in
    the scale of the inputs: the mean if these were normalised.

    Source: DeVries & Taylor 2017, Improved Regularization of Convolutional Neural Networks with
    Cutout (arXiv:1708.04552), section 3.2; length 16 for CIFAR-10 and 8 for CIFAR-100. With an odd
    length their code erases a square of length - 1, this one of length.

    Raises:
        ValueError: length is not a whole number >= 1.
    """

    length: Annotated[int, "a whole number in [1, 4096]; it counts pixels, write e.g. 16"] = 16

    draws: ClassVar[int] = 2  # row and column of the centre

    def __post_init__(self) -> None:
        check_declared(self)

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        shape = check_pictures(inputs, "cutout")
        check_largest("length", self.length, min(shape), shape)
        rows, columns = (
            self._erased(draws[:, number : number + 1], size, inputs.device)
            for number, size in enumerate(shape)
        )
        return inputs.masked_fill((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), 0)

    def _erased(self, draws: Tensor, size: int, device: torch.device) -> Tensor:
        """Returns which positions of one side lie in the square: bool, (samples, size)."""
        first = (draws * size).long() - self.length // 2
        positions = torch.arange(size, device=device)
        return (positions >= first) & (positions < first + self.length)
