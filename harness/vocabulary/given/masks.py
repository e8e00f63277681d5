"""Reads masks that another tool has made."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.vocabulary.tensors import Tensors


def as_bool(masks: Any) -> Tensors:
    """Converts masks of 0 and 1, of any dtype and library, to bool tensors by parameter name.

    >>> import numpy as np
    >>> as_bool({"fc.weight": np.array([[1.0, 0.0]])})
    {'fc.weight': tensor([[ True, False]])}

    Raises:
        ValueError: masks are not named, one is no dense array, or it contains another value.
    """
    if not isinstance(masks, Mapping):
        raise ValueError(
            f"masks must be a dictionary of parameter name -> tensor, got {type(masks).__name__}; "
            "harness.prune and harness.from_torch_prune return one"
        )
    return {name: _as_bool(f"masks[{name!r}]", mask) for name, mask in masks.items()}


def _as_bool(key: str, mask: Any) -> Tensor:
    # Arrays of numpy are masks too; lists and numbers have no shape of their own.
    value = mask if isinstance(mask, Tensor) or not hasattr(mask, "shape") else torch.tensor(mask)
    if not isinstance(value, Tensor) or value.is_meta or value.layout is not torch.strided:
        kind = type(mask).__name__ if not isinstance(value, Tensor) else f"{value.layout}"
        where = " on the meta device" if isinstance(value, Tensor) and value.is_meta else ""
        raise ValueError(f"{key} is {kind}{where}; give a dense tensor of the parameter's shape")
    if not ((value == 0) | (value == 1)).all():
        raise ValueError(
            f"{key} holds other values than 0 and 1; a mask is True, or 1, where a "
            "weight stays, and False, or 0, where it is pruned"
        )
    return value.detach().bool()
