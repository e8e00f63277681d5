"""Computes where a layer's units are in a tensor, and how torch's operators move them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

# The same elements in the same order, whatever the shape.
SAME_ORDER = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "unsqueeze",
    "squeeze", "clone", "contiguous", "_to_copy", "alias", "detach", "lift_fresh", "dropout",
    "native_dropout", "to",
}  # fmt: skip
# Dimensions are taken away or made shorter; the first argument after the tensor names them.
OF_DIMENSIONS = {
    "mean", "sum", "amax", "amin", "select", "slice", "split", "split_with_sizes", "chunk",
    "unbind", "narrow", "flip", "cat",
}  # fmt: skip
RESIZING = ("pool", "upsample", "_pad", "pad_nd")
PRODUCTS = {"mm": 0, "addmm": 1, "bmm": 0, "baddbmm": 1, "mv": 0, "addmv": 1}


@dataclass(frozen=True)
class UnitLayout:
    """Says that flat position p of a tensor belongs to unit (p // stride) % units.

    A view keeps flat positions, so it keeps the layout, whatever it splits or joins.
    """

    units: int
    stride: int

    def dimension(self, shape: Sequence[int]) -> int | None:
        """Returns the one dimension that counts the units, or None."""
        for dim, size in enumerate(shape):
            if size == self.units and prod(shape[dim + 1 :]) == self.stride:
                return dim
        return None

    @classmethod
    def of_dimension(cls, shape: Sequence[int], dim: int) -> "UnitLayout":
        return cls(shape[dim], prod(shape[dim + 1 :]))


LaidOut = tuple[Tensor, UnitLayout | None]


def pointwise(func: Any) -> bool:
    return torch.Tag.pointwise in func.tags


def output_layout(
    name: str, func: Any, args: Sequence[Any], inputs: list[LaidOut], out: Tensor
) -> Any:
    """Returns the layout of an operator's output, or None where it is unknown.

    inputs: the operator's inputs that hold units. name: the operator's, without its overload.
    """
    if pointwise(func) or name in ("expand", "masked_fill"):
        return _broadcast_layout(inputs, out.shape)
    if any(layout is None for _, layout in inputs):
        return None
    if name == "copy":
        return _broadcast_layout(inputs[-1:], out.shape)
    if name == "cat":
        return _concatenated_layout(inputs, out.shape)
    (first, layout), shape = inputs[0], out.shape
    assert layout is not None
    # A slice can be all of a dimension: older versions of torch write x[:, None] with such ones.
    if name in SAME_ORDER or (shape == first.shape and ("norm" in name or name == "slice")):
        return layout if out.numel() == first.numel() else None
    if name == "as_strided":
        return layout if _same_strides(first, out) else None
    if name == "repeat":
        return layout if first.dim() == out.dim() == 1 else None
    dim = layout.dimension(first.shape)
    if dim is None:
        return None
    after = _dimension_after(name, args, first, dim, out)
    if after is None or not after < out.dim() or shape[after] != layout.units:
        return None
    return UnitLayout.of_dimension(shape, after)


def _same_strides(first: Tensor, second: Tensor) -> bool:
    """True if shapes and strides are equal, not counting dimensions of one entry."""
    strides = zip(first.shape, first.stride(), second.stride(), strict=False)
    return first.shape == second.shape and all(size == 1 or a == b for size, a, b in strides)


def _dimension_after(
    name: str, args: Sequence[Any], first: Tensor, dim: int, out: Tensor
) -> int | None:
    """Returns the units' dimension in the output."""
    if name in ("t", "transpose", "permute"):
        return _permutation(name, args, first.dim()).index(dim)
    if name == "roll":
        touched = _dimensions(args[2:3], first.dim())
        return None if not touched or dim in touched else dim
    if name in OF_DIMENSIONS:
        touched = _dimensions(_dimension_arguments(name, args), first.dim())
        if dim in touched or not touched:
            return None
        gone = touched if out.dim() < first.dim() else []
        return dim - sum(other < dim for other in gone)
    resized = any(part in name for part in RESIZING)
    return dim if resized and out.dim() == first.dim() else None


def _dimension_arguments(name: str, args: Sequence[Any]) -> Sequence[Any]:
    """Returns the argument that names dimensions; a default of 0 may be left out."""
    if name in ("split", "split_with_sizes", "chunk"):
        return args[2:3] or [0]
    if name == "amax" or name == "amin":
        return args[1:2]
    return args[1:2] or ([0] if name in ("slice", "unbind", "select") else [])


def _dimensions(arguments: Sequence[Any], count: int) -> list[int]:
    named = [
        dim
        for argument in arguments
        for dim in (argument if isinstance(argument, list | tuple) else [argument])
    ]
    return [dim % count for dim in named if isinstance(dim, int)]


def _permutation(name: str, args: Sequence[Any], count: int) -> list[int]:
    order = list(range(count))
    if name == "permute":
        return [dim % count for dim in args[1]]
    first, second = (args[1] % count, args[2] % count) if name == "transpose" else (0, count - 1)
    order[first], order[second] = order[second], order[first]
    return order


def _broadcast_layout(inputs: list[LaidOut], shape: Sequence[int]) -> UnitLayout | None:
    """Returns the layout of tensors that are broadcast to this shape."""
    if all(tensor.shape == shape for tensor, _ in inputs):
        layout: UnitLayout | None = _only({layout for _, layout in inputs})
        return layout
    right = _only({_from_right(tensor, layout) for tensor, layout in inputs if layout})
    if right is None:
        return None
    # One value for all units, such as their mean, moves none.
    others = [tensor for tensor, layout in inputs if layout is None and tensor.dim() >= right]
    if any(tensor.shape[tensor.dim() - right] != 1 for tensor in others):
        return None
    return UnitLayout.of_dimension(shape, len(shape) - right)


def _concatenated_layout(inputs: list[LaidOut], shape: Sequence[int]) -> UnitLayout | None:
    """Returns the layout of concatenated tensors whose units' dimension is as long as before."""
    right = _only({_from_right(tensor, layout) for tensor, layout in inputs})
    units = _only({layout.units for _, layout in inputs if layout})
    if right is None or shape[len(shape) - right] != units:
        return None
    return UnitLayout.of_dimension(shape, len(shape) - right)


def _from_right(tensor: Tensor, layout: UnitLayout | None) -> int | None:
    dim = layout.dimension(tensor.shape) if layout else None
    return None if dim is None else tensor.dim() - dim


def _only(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None


def product_layout(
    name: str, args: Sequence[Any], weight: Tensor, layout: UnitLayout, out: Tensor
) -> Any:
    """Returns the layout of the units that this weight makes in a product, or None.

    None too where the weight is read the other way round, as in the second half of a tied
    autoencoder, or where the operator is not known.
    """
    dim = layout.dimension(weight.shape)
    if dim is None:
        return None
    if name == "linear" or ("conv" in name and not _transposed(args)):
        after = out.dim() - 1 if name == "linear" else 1
        return UnitLayout.of_dimension(out.shape, after) if dim == 0 else None
    if name not in PRODUCTS:
        return None
    right = args[PRODUCTS[name] + 1] is weight
    if dim != weight.dim() - (1 if right else 2):
        return None
    return UnitLayout.of_dimension(out.shape, out.dim() - (1 if right or out.dim() == 1 else 2))


def _transposed(args: Sequence[Any]) -> bool:
    return any(isinstance(argument, bool) for argument in args[6:7]) and bool(args[6])
