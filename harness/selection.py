"""The one exact top-k of the project: allocations count with it, masks are cut with it."""

import torch
from torch import Tensor

from harness.tensors import Counts, Tensors


def top(scores: Tensor, keep: int) -> Tensor:
    """True at exactly `keep` highest scores; of equal scores the first flat index wins.

    A partition finds the keep-th highest score, in float32 or wider; nothing is sorted.

    >>> top(torch.tensor([1.0, 3.0, 1.0, 1.0]), keep=2).tolist()
    [True, True, False, False]

    Raises:
        ValueError: keep is not in [0, number of scores], or a score is NaN.
    """
    flat = _wide(scores)
    if not 0 <= keep <= flat.numel():
        raise ValueError(f"cannot keep {keep} of {flat.numel()} units")
    if keep in (0, flat.numel()):
        return torch.full(scores.shape, keep > 0, device=scores.device)
    threshold = flat.kthvalue(flat.numel() - keep + 1).values
    mask = flat > threshold
    ties = (flat == threshold).nonzero().flatten()
    mask[ties[: keep - int(mask.sum())]] = True
    return mask.view(scores.shape)


def top_each(scores: Tensors, keep: Counts) -> Tensors:
    """`top` per tensor: exactly keep[name] units of each."""
    return {name: top(score, keep[name]) for name, score in scores.items()}


def top_counts(scores: Tensors, keep: int) -> Counts:
    """How many of the `keep` highest scores of all tensors together lie in each of them."""
    flats = [_wide(score) for score in scores.values()]
    mask = top(torch.cat(flats), keep)
    parts = mask.split([flat.numel() for flat in flats])
    return {name: int(part.sum()) for name, part in zip(scores, parts, strict=True)}


def _wide(scores: Tensor) -> Tensor:
    flat = scores.detach().flatten()
    flat = flat if flat.dtype == torch.float64 else flat.float()
    if flat.isnan().any():
        raise ValueError(f"{int(flat.isnan().sum())} of {flat.numel()} scores are NaN")
    return flat
