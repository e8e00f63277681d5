"""Pools scores of entries to one per unit, and makes scores of groups comparable."""

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "sum", "l2", "max"]
PoolOver = Literal["producers", "members"]
Normalize = Literal["none", "mean", "max"]


def pooled(scores: Tensor, dims: tuple[int, ...], by: Pooling) -> Tensor:
    """Returns mean, sum, sqrt(sum of squares) or maximum over these dimensions, which hold a unit.

    >>> [float(pooled(torch.tensor([[3.0, 4.0]]), (1,), by)) for by in ("mean", "sum", "l2", "max")]
    [3.5, 7.0, 5.0, 4.0]
    """
    if by == "l2":
        return scores.square().sum(dim=dims).sqrt()
    if by == "max":
        return scores.amax(dim=dims)
    return scores.sum(dim=dims) if by == "sum" else scores.mean(dim=dims)


def normalized(scores: Tensor, by: Normalize) -> Tensor:
    """Returns a group's scores over the mean, or the maximum, of their sizes |s|.

    scores: one per unit; those that are -inf are pruned, and have no part in it. Scores that are
    all 0 stay.

    >>> normalized(torch.tensor([3.0, -1.0, -torch.inf]), "mean").tolist()
    [1.5, -0.5, -inf]
    >>> normalized(torch.tensor([3.0, -1.0]), "max").tolist()
    [1.0, -0.3333333432674408]
    """
    sizes = scores[scores > -torch.inf].abs().double()
    if by == "none" or not sizes.any():
        return scores
    whole = sizes.mean() if by == "mean" else sizes.max()
    return (scores.double() / whole).to(scores.dtype)
