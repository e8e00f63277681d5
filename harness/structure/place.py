"""What tells tensors of a pass apart: Python's objects do not, for views get new ones."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def storage(tensor: Tensor) -> int:
    """Of all tensors that share memory the same, while one of them lives."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)


def place(tensor: Tensor) -> Any:
    """Of all tensors that are the same view of the same memory the same."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return storage(tensor), tensor.storage_offset(), tensor.shape, tensor.stride()


def tensors_in(found: Any) -> Iterator[Tensor]:
    """All tensors of nested lists, tuples, dictionaries and dataclasses."""
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, dict):
        yield from tensors_in(list(found.values()))
    elif isinstance(found, list | tuple):
        for each in found:
            yield from tensors_in(each)
    elif is_dataclass(found) and not isinstance(found, type):
        yield from tensors_in([getattr(found, each.name) for each in fields(found)])
