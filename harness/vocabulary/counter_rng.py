"""Computes random numbers by index, independent of the batch of a sample."""

import torch
from torch import Tensor


def uniforms(seed: int, indices: Tensor, count: int) -> Tensor:
    """Returns `count` numbers in [0, 1) for each index: float64, (len(indices), count).

    They are a function of (seed, index, column) alone, equal bit for bit on CPU and CUDA. Batches,
    their order and the number of ranks change nothing, and a resumed run needs no saved stream.
    Column k is the same for every count above k. `seed` comes from harness.vocabulary.seeds.derive.

    Uses the 53 high bits of splitmix64 (Steele et al. 2014, Fast Splittable Pseudorandom Number
    Generators), once over the index and once over the column.

    Raises:
        ValueError: indices are not int64 in one dimension, or count is negative.
    """
    if indices.dim() != 1 or indices.dtype != torch.int64:
        raise ValueError(
            f"indices must be int64 in one dimension, got {indices.dtype} of shape "
            f"{tuple(indices.shape)}; give the samples' indices in the data set"
        )
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    columns = torch.arange(1, count + 1, device=indices.device)
    rows = _mixed((indices + 1) * GAMMA + _signed(seed))
    bits = _mixed(rows.unsqueeze(1) + columns * GAMMA)
    return _shifted(bits, 11).double() * 2**-53


def _signed(number: int) -> int:
    """Returns the int64 of the same 64 bits. torch's integers wrap around as those of C do."""
    return (number + 2**63) % 2**64 - 2**63


GAMMA = _signed(0x9E3779B97F4A7C15)
MIXERS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def _mixed(bits: Tensor) -> Tensor:
    """Mixes the bits: every bit of the result depends on every bit of its int64."""
    for shift, factor in MIXERS:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    # An int64 shifts its sign in from the left, but the generator uses unsigned numbers.
    low: int = 2 ** (64 - by) - 1
    return (bits >> by) & low
