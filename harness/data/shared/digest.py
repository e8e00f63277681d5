"""Computes the digest of data in memory, over every tensor of all splits."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness.data.base import CHUNK, Split
from harness.data.shared.splits import PARTS, check_splits


def digest(loaded: Any) -> str:
    """Returns the SHA-256, in hex, of classes and of dtype, shape, bytes of inputs and labels.

    Raises:
        ValueError: what is loaded is no Splits.
    """
    splits = check_splits(loaded)
    sha = hashlib.sha256(f"{splits.classes}".encode())
    for name in PARTS:
        split = getattr(splits, name)
        sha.update(f"\n{name} {len(split)}\n".encode())
        for tensor in _tensors(split):
            sha.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            plain = tensor.detach().cpu().contiguous().flatten()
            sha.update(plain.view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _tensors(split: Split) -> Iterator[Tensor]:
    """Yields inputs and labels in the order of samples, for any kind of split."""
    for inputs, labels in split.batches(torch.arange(len(split)).split(CHUNK)):
        yield inputs
        yield labels
