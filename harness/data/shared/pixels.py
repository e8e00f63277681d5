"""Holds pictures as bytes, which are normalised when a batch is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.data.base import Split
from harness.vocabulary.tensors import Batch


@dataclass(frozen=True, eq=False)
class Pixels(Split):
    """Holds uint8 pictures; a batch is (pixels / 255 - mean) / std, in the split's dtype.

    That takes a quarter of the memory of float32. mean, std: a number per channel.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dtype: torch.dtype = torch.float32

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        mean, std = (
            torch.tensor(each, dtype=self.dtype, device=self.inputs.device)[:, None, None]
            for each in (self.mean, self.std)
        )
        for pixels, labels in super().batches(indices):
            yield (pixels.to(self.dtype) / 255 - mean) / std, labels

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Pixels":
        moved = self.inputs.to(device), self.labels.to(device)
        return replace(self, inputs=moved[0], labels=moved[1], dtype=dtype)
