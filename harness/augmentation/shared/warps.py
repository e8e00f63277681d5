"""Moves pixels of a batch of pictures, each by a matrix of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sheared(pictures: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
    """Returns pictures sheared about the upper left corner, in pixels per row and per column."""
    height, width = pictures.shape[2:]
    return warped(
        pictures,
        _matrices([[1, along_x, along_x * height / 2], [along_y, 1, along_y * width / 2]]),
    )


def shifted(pictures: Tensor, to_right: Tensor, down: Tensor) -> Tensor:
    return warped(pictures, _matrices([[1, 0, -to_right], [0, 1, -down]]))


def rotated(pictures: Tensor, angles: Tensor) -> Tensor:
    """Returns pictures rotated about the middle, counter-clockwise, by angles in radians."""
    cosines, sines = angles.cos(), angles.sin()
    return warped(pictures, _matrices([[cosines, -sines, 0], [sines, cosines, 0]]))


def _matrices(entries: list[list[Tensor | float]]) -> Tensor:
    """Returns one 2 x 3 matrix per sample, of entries that are (samples,) or one number."""
    flat = [entry for row in entries for entry in row]
    like = next(entry for entry in flat if isinstance(entry, Tensor))
    columns = [
        entry if isinstance(entry, Tensor) else like.new_full(like.shape, entry) for entry in flat
    ]
    return torch.stack(columns, dim=1).view(-1, 2, 3)


def warped(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Returns pictures of which each pixel is the nearest one to its source; beside them 0.

    matrices: (samples, 2, 3), from a place in the result to its source, (x, y, 1) in pixels from
    the middle.
    """
    height, width = pictures.shape[2:]
    x, y = (
        torch.arange(size, dtype=torch.float32, device=pictures.device) - (size - 1) / 2
        for size in (width, height)
    )
    # Multiplied entry by entry: a product of matrices may round otherwise in other batches.
    matrices = matrices.float()[:, :, :, None, None]
    sources = matrices[:, :, 0] * x + matrices[:, :, 1] * y[:, None] + matrices[:, :, 2]
    grid = torch.stack([sources[:, 0] / (width / 2), sources[:, 1] / (height / 2)], dim=3)
    return F.grid_sample(pictures.float(), grid, mode="nearest", align_corners=False).byte()
