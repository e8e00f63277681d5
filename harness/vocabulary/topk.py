"""Selects the exact top-k. Allocations count with it, and masks are made with it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.vocabulary.tensors import Counts, Tensors

# One dimension. numpy on the CPU, where it compares and counts three times as fast as torch.
# A Tensor elsewhere.
Array = Any

# The sample holds every STEP-th score. A prime, so that it does not align with the rows of a weight
# or the positions of a kernel.
STEP = 101


def topk_mask(scores: Tensor, keep: int) -> Tensor:
    """True at exactly `keep` highest scores; of equal scores the first flat index wins.

    Scores are compared in float32 or wider, without sorting.

    >>> topk_mask(torch.tensor([1.0, 3.0, 1.0, 1.0]), keep=2).tolist()
    [True, True, False, False]

    Raises:
        ValueError: keep is not in [0, number of scores], or a score is NaN.
    """
    flat = _array(scores, widest([scores]))
    check_keep(keep, len(flat))
    if keep in (0, len(flat)):
        return torch.full(scores.shape, keep > 0, device=scores.device)
    threshold = _threshold([flat], keep)
    mask = flat > threshold
    ties = positions(flat == threshold)
    mask[ties[: keep - count(mask)]] = True
    return torch.as_tensor(mask).view(scores.shape)


def topk_masks(scores: Tensors, keep: Counts) -> Tensors:
    """Returns `topk_mask` per tensor: exactly keep[name] units of each."""
    return {name: topk_mask(score, keep[name]) for name, score in scores.items()}


def topk_counts(scores: Tensors, keep: int) -> Counts:
    """Returns how many of the `keep` highest scores of all tensors together lie in each tensor.

    Of equal scores those of the first tensor win.
    """
    dtype = widest(scores.values())
    flats = {name: _array(score, dtype) for name, score in scores.items()}
    check_keep(keep, sum(map(len, flats.values())))
    threshold = _threshold(list(flats.values()), keep) if keep else math.inf
    counts = {name: count(flat > threshold) for name, flat in flats.items()}
    left = keep - sum(counts.values())
    for name, flat in flats.items():
        if left:
            ties = min(left, count(flat == threshold))
            counts[name] += ties
            left -= ties
    return counts


def check_keep(keep: int, units: int) -> None:
    """Raises ValueError unless 0 <= keep <= units.

    Raises:
        ValueError: That many units cannot be kept.
    """
    if not 0 <= keep <= units:
        raise ValueError(f"cannot keep {keep} of {units} units")


def widest(scores: Iterable[Tensor]) -> torch.dtype:
    """Returns the dtype in which scores are compared: float64 if any score has it, else float32."""
    wide = any(score.dtype == torch.float64 for score in scores)
    return torch.float64 if wide else torch.float32


def array(flat: Tensor) -> Array:
    """Returns the same memory in the form that is compared fastest."""
    return flat.numpy() if flat.device.type == "cpu" else flat


def count(mask: Array) -> int:
    """Returns the number of True entries."""
    return int(np.count_nonzero(mask) if isinstance(mask, np.ndarray) else mask.count_nonzero())


def positions(mask: Array) -> Array:
    """Returns the indices of True entries, ascending."""
    return np.flatnonzero(mask) if isinstance(mask, np.ndarray) else mask.nonzero().flatten()


def _threshold(flats: Sequence[Array], keep: int) -> float:
    """Returns the keep-th highest of all scores together, for 1 <= keep <= their number.

    Two pivots from a sample enclose it, and only scores between them are partitioned (after Floyd &
    Rivest 1975, Expected time bounds for selection).
    """
    low, high = _pivots(flats, keep)
    between = _joined([flat[(flat > low) & (flat <= high)] for flat in flats])
    rank = keep - sum(count(flat > high) for flat in flats)
    if not 1 <= rank <= len(between):
        # The pivots missed it, as with many equal scores. Selects from all scores instead.
        between, rank = _joined(flats), keep
    return _lowest(between, len(between) - rank)


def _pivots(flats: Sequence[Array], keep: int) -> tuple[float, float]:
    sample = _joined([flat[::STEP] for flat in flats])
    lower = 1 - keep / sum(map(len, flats))  # fraction of the scores below the threshold
    position, sigma = len(sample) * lower, math.sqrt(len(sample) * lower * (1 - lower))
    low, high = math.floor(position - 4 * sigma) - 4, math.ceil(position + 4 * sigma) + 4
    return (
        _lowest(sample, low) if low >= 0 else -math.inf,
        _lowest(sample, high) if high < len(sample) else math.inf,
    )


def _array(scores: Tensor, dtype: torch.dtype) -> Array:
    flat = scores.detach().flatten().to(dtype)
    # The maximum of scores among which there is a NaN is NaN, and ten times as fast as isnan().
    if flat.numel() and flat.max().isnan():
        raise ValueError(f"{int(flat.isnan().sum())} of {flat.numel()} scores are NaN")
    return array(flat)


def _joined(flats: Sequence[Array]) -> Array:
    if len(flats) == 1:
        return flats[0]
    return np.concatenate(flats) if isinstance(flats[0], np.ndarray) else torch.cat(list(flats))


def _lowest(flat: Array, index: int) -> float:
    """Returns the score at this index in ascending order."""
    if isinstance(flat, np.ndarray):
        return float(np.partition(flat, index)[index])
    return float(flat.kthvalue(index + 1).values)
