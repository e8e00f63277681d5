"""Pools scores of a unit's elements to one score."""

from typing import Literal

from torch import Tensor

Pooling = Literal["mean", "sum", "l2"]


def pooled(scores: Tensor, dims: tuple[int, ...], by: Pooling) -> Tensor:
    """Returns mean, sum or sqrt(sum of squares) over these dimensions, which hold a unit.

    >>> import torch
    >>> [float(pooled(torch.tensor([[3.0, 4.0]]), (1,), by)) for by in ("mean", "sum", "l2")]
    [3.5, 7.0, 5.0]
    """
    if by == "l2":
        return scores.square().sum(dim=dims).sqrt()
    return scores.sum(dim=dims) if by == "sum" else scores.mean(dim=dims)
