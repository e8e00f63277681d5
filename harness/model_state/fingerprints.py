"""Computes fingerprints of tensors on their device, which ranks compare."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from harness.vocabulary.tensors import Tensors, dense_parts

ROW = 4096  # words that are summed together
LANES = 2
# Rows whose products are in memory at once: in a CPU's cache, and 128 MiB on a GPU.
ROWS_AT_ONCE = {"cpu": 32, "cuda": 4096}


def fingerprint(tensors: Tensors) -> dict[str, str]:
    """sum_i a_i w_i mod 2^64 per tensor, in two lanes, with its dtype and shape, as text.

    A sparse tensor adds its layout and the shapes of its parts, and its bytes are those of its
    indices and then its values. A quantized tensor's bytes are those of its whole numbers, scales
    and zero points.

    The bytes, in logical order, are words w_i of 32 bits; the last one is filled up with 0. Each of
    two lanes is sum_i a_i w_i mod 2^64 over rows of 4096 words, with fixed, pseudo-random, odd
    multipliers a_i that differ between lanes. The sums of the rows are words again, until one row
    is left. Whole numbers do not round: every device, number of threads and order of the sums gives
    the same bits. Only the last sums leave the device.

    One changed word always changes every lane, because a_i is odd: one flipped bit is never missed,
    0 and -0 differ, and so do two NaNs of other bits. Changes of several words are missed where
    their products cancel in both lanes. For a change that does not depend on the multipliers the
    chance is 2^-32 a lane and level, about 2^-60 together. So exchanged values, shifted rows and
    pairwise changed signs are seen. It is no cryptographic hash: two tensors that agree can be
    constructed from the multipliers.

    Source: Dietzfelbinger 1996, universal hashing without primes (multiply and add mod 2^64).
    """
    if not tensors:
        return {}
    sums = [_lanes(_words(tensor)) for tensor in tensors.values()]
    # All at once: reading a number waits for the device.
    numbers = torch.stack(sums).tolist() if len({s.device for s in sums}) == 1 else _lists(sums)
    return {
        name: f"{_form(tensor)} {''.join(f'{lane % 2**64:016x}' for lane in lanes)}"
        for (name, tensor), lanes in zip(tensors.items(), numbers, strict=True)
    }


def _form(tensor: Tensor) -> str:
    """Returns dtype, shape and layout as text.

    >>> _form(torch.eye(2).to_sparse())
    'float32 (2, 2) sparse_coo (2, 2) (2,)'
    """
    dtype, layout = (str(kind).removeprefix("torch.") for kind in (tensor.dtype, tensor.layout))
    form = f"{dtype} {tuple(tensor.shape)}"
    if tensor.layout is torch.strided:
        return form
    return " ".join([form, layout, *(str(tuple(part.shape)) for part in dense_parts(tensor))])


def _lists(sums: list[Tensor]) -> list[list[int]]:
    return [lanes.tolist() for lanes in sums]


def _words(tensor: Tensor) -> Tensor:
    """Returns the bytes as int32. A view where they are contiguous and fill whole words."""
    parts = [_words_of_dense(part) for part in dense_parts(tensor)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _words_of_dense(tensor: Tensor) -> Tensor:
    flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    if flat.element_size() % 4 == 0:
        return flat.view(torch.int32)
    octets = flat.view(torch.uint8)
    return torch.nn.functional.pad(octets, (0, -octets.numel() % 4)).view(torch.int32)


def _lanes(words: Tensor, level: int = 0) -> Tensor:
    multipliers = _multipliers(level, words.device)
    whole = words.numel() - words.numel() % ROW
    if whole == 0 or words.numel() == ROW:
        return _sums(words.unsqueeze(0), multipliers[:, : words.numel()]).squeeze(0)
    rows = words[:whole].view(-1, ROW).split(ROWS_AT_ONCE.get(words.device.type, ROW))
    sums = [_sums(some, multipliers) for some in rows]
    if whole < words.numel():
        rest = words[whole:].unsqueeze(0)
        sums.append(_sums(rest, multipliers[:, : rest.shape[1]]))
    return _lanes(torch.cat(sums).view(-1).view(torch.int32), level + 1)


def _sums(rows: Tensor, multipliers: Tensor) -> Tensor:
    """Returns the sum of each row in each lane (rows, LANES), mod 2^64."""
    wide = rows.long()
    if rows.device.type == "cpu":
        # Several times as fast as torch, which writes the products to memory.
        return torch.from_numpy(np.einsum("rw,lw->rl", wide.numpy(), multipliers.numpy()))
    return torch.stack([(wide * lane).sum(dim=1) for lane in multipliers], dim=1)


@cache
def _multipliers(level: int, device: torch.device) -> Tensor:
    """Returns (LANES, ROW) odd numbers of 64 bits, from splitmix64 (Steele et al. 2014)."""
    first = 1 + level * LANES * ROW
    numbers = np.arange(first, first + LANES * ROW, dtype=np.uint64)
    numbers *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers ^= numbers >> np.uint64(shift)
        numbers *= np.uint64(factor)
    numbers ^= numbers >> np.uint64(31)
    multipliers = (numbers | np.uint64(1)).view(np.int64)
    return torch.from_numpy(multipliers.copy()).view(LANES, ROW).to(device)
