"""Tells tensors of a pass apart, as views get new Python objects."""

from typing import Any

import torch
from torch import Tensor


def storage_key(tensor: Tensor) -> int:
    """Returns a key that all tensors of one storage have in common, while one of them exists."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)


def view_key(tensor: Tensor) -> Any:
    """Returns a key that all equal views of the same memory have in common."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return storage_key(tensor), tensor.storage_offset(), tensor.shape, tensor.stride()
