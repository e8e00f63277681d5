"""Holds pictures as bytes, which are normalised when a batch is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.data.base import Split
from harness.vocabulary.given.inputs import map_inputs
from harness.vocabulary.tensors import Batch

Scale = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std, each a number per channel


@dataclass(frozen=True, eq=False)
class Pixels(Split):
    """Holds uint8 pictures; a batch is (pixels / 255 - mean) / std, in the split's dtype.

    That takes a quarter of the memory of float32. mean, std: a number per channel.
    """

    inputs: Tensor
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dtype: torch.dtype = torch.float32

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        mean, std = moments((self.mean, self.std), self.inputs.device, self.dtype)
        for inputs, labels in super().batches(indices):
            yield map_inputs(lambda pixels: scaled(pixels, mean, std), inputs), labels

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Pixels":
        moved = self.inputs.to(device), self.labels.to(device)
        return replace(self, inputs=moved[0], labels=moved[1], dtype=dtype)


def moments(scale: Scale, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns mean and std as tensors that broadcast over pictures."""
    mean, std = (torch.tensor(each, dtype=dtype, device=device)[:, None, None] for each in scale)
    return mean, std


def scaled(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Returns (pixels / 255 - mean) / std, in the dtype of mean and std."""
    return (pixels.to(mean.dtype) / 255 - mean) / std


def mean_and_std(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and std per channel of uint8 pictures, of pixels in [0, 1].

    They are exact: computed of counts. The std is that of the population.

    >>> mean_and_std(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    ((0.5,), (0.5,))

    Raises:
        ValueError: all pixels of a channel are equal.
    """
    values, moments = torch.arange(256, dtype=torch.float64) / 255, []
    for channel in pixels.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256).double()
        mean = (counts @ values) / counts.sum()
        variance = (counts @ (values - mean) ** 2) / counts.sum()
        if variance == 0:
            raise ValueError("training pictures are all equal in a channel; check the data files")
        moments.append((mean.item(), variance.sqrt().item()))
    means, stds = zip(*moments, strict=True)
    return means, stds
