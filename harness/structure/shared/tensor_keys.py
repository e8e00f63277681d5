"""What tells tensors of a pass apart: Python's objects do not, for views get new ones."""

from typing import Any

import torch
from torch import Tensor


def storage_key(tensor: Tensor) -> int:
    """Of all tensors that share memory the same, while one of them lives."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)


def view_key(tensor: Tensor) -> Any:
    """Of all tensors that are the same view of the same memory the same."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return storage_key(tensor), tensor.storage_offset(), tensor.shape, tensor.stride()
