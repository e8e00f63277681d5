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

    Names of inputs count too, where they have names.

    Raises:
        ValueError: what is loaded is no Splits.
    """
    splits = check_splits(loaded)
    sha = hashlib.sha256(f"{splits.classes}".encode())
    for name in PARTS:
        split = getattr(splits, name)
        sha.update(f"\n{name} {len(split)}\n".encode())
        for column, tensor in _tensors(split):
            sha.update(f"{column}{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            plain = tensor.detach().cpu().contiguous().flatten()
            sha.update(plain.view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _tensors(split: Split) -> Iterator[tuple[str, Tensor]]:
    """Yields inputs and labels in the order of samples, for any kind of split, with their names.

    One tensor of inputs has no name, nor have labels.
    """
    for inputs, labels in split.batches(torch.arange(len(split)).split(CHUNK)):
        named = {"": inputs} if isinstance(inputs, Tensor) else inputs
        for name, tensor in named.items():
            yield f"{name} ".lstrip(), tensor
        yield "", labels
