"""Converts between the pixels of pictures and the normalised numbers that a model gets."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelScale:
    """Says how inputs were made of pixels: (pixels / 255 - mean) / std, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels_of(self, inputs: Tensor) -> Tensor:
        """Returns the pixels, uint8, of pictures (samples, channels, height, width).

        Values between two pixels are rounded, values beyond 0 and 255 are cut off.
        """
        if inputs.dtype == torch.uint8:
            return inputs
        mean, std = self._tensors(inputs)
        return ((inputs.to(mean.dtype) * std + mean) * 255).round().clamp(0, 255).byte()

    def inputs_of(self, pixels: Tensor, like: Tensor) -> Tensor:
        """Returns the inputs that such pixels give, in the dtype of `like`."""
        if like.dtype == torch.uint8:
            return pixels
        mean, std = self._tensors(like)
        return ((pixels.to(mean.dtype) / 255 - mean) / std).to(like.dtype)

    def _tensors(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        # bfloat16 has too few digits for 256 values.
        dtype = torch.promote_types(inputs.dtype, torch.float32)
        mean, std = (_column(one, dtype, inputs.device) for one in (self.mean, self.std))
        return mean, std


@cache  # because a copy to a device waits for it
def _column(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)[:, None, None]


def pixel_scale_of(split: object) -> PixelScale | None:
    """Returns the scale of a split's pictures, or None if it does not say its mean and std."""
    mean, std = (getattr(split, name, None) for name in ("mean", "std"))
    if mean is None or std is None:
        return None
    return PixelScale(tuple(map(float, mean)), tuple(map(float, std)))
