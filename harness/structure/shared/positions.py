"""Where a layer's units lie in a tensor, and how torch's operators move them."""

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
# Dimensions are taken away or made shorter; the first argument but the tensor says which.
OF_DIMENSIONS = {
    "mean", "sum", "amax", "amin", "select", "slice", "split", "split_with_sizes", "chunk",
    "unbind", "narrow", "flip", "cat",
}  # fmt: skip
RESIZING = ("pool", "upsample", "_pad", "pad_nd")
PRODUCTS = {"mm": 0, "addmm": 1, "bmm": 0, "baddbmm": 1, "mv": 0, "addmv": 1}


@dataclass(frozen=True)
class Track:
    """The element at flat place p is of unit (p // stride) % units.

    A view keeps places, so it keeps the track, whatever it splits or joins.
    """

    units: int
    stride: int

    def dimension(self, shape: Sequence[int]) -> int | None:
        """The one dimension that counts the units, or None."""
        for dim, size in enumerate(shape):
            if size == self.units and prod(shape[dim + 1 :]) == self.stride:
                return dim
        return None

    @classmethod
    def along(cls, shape: Sequence[int], dim: int) -> "Track":
        return cls(shape[dim], prod(shape[dim + 1 :]))


Tracked = tuple[Tensor, Track | None]


def pointwise(func: Any) -> bool:
    return torch.Tag.pointwise in func.tags


def moved(name: str, func: Any, args: Sequence[Any], read: list[Tracked], out: Tensor) -> Any:
    """The track of an operator's output, or None where it is not known.

    read: the operator's inputs that hold units. name: the operator's, without its overload.
    """
    if pointwise(func) or name in ("expand", "masked_fill"):
        return _aligned(read, out.shape)
    if any(track is None for _, track in read):
        return None
    if name == "copy":
        return _aligned(read[-1:], out.shape)
    if name == "cat":
        return _common(read, out.shape)
    (first, track), shape = read[0], out.shape
    assert track is not None
    if name in SAME_ORDER or ("norm" in name and shape == first.shape):
        return track if out.numel() == first.numel() else None
    if name == "as_strided":
        return track if _same_strides(first, out) else None
    if name == "repeat":
        return track if first.dim() == out.dim() == 1 else None
    dim = track.dimension(first.shape)
    if dim is None:
        return None
    after = _dimension_after(name, args, first, dim, out)
    if after is None or not after < out.dim() or shape[after] != track.units:
        return None
    return Track.along(shape, after)


def _same_strides(one: Tensor, other: Tensor) -> bool:
    """Strides of dimensions of one entry do not count."""
    strides = zip(one.shape, one.stride(), other.stride(), strict=False)
    return one.shape == other.shape and all(size == 1 or a == b for size, a, b in strides)


def _dimension_after(
    name: str, args: Sequence[Any], first: Tensor, dim: int, out: Tensor
) -> int | None:
    """Where the units' dimension lies in the output."""
    if name in ("t", "transpose", "permute"):
        return _permutation(name, args, first.dim()).index(dim)
    if name == "roll":
        touched = _dims(args[2:3], first.dim())
        return None if not touched or dim in touched else dim
    if name in OF_DIMENSIONS:
        touched = _dims(_of(name, args), first.dim())
        if dim in touched or not touched:
            return None
        gone = touched if out.dim() < first.dim() else []
        return dim - sum(each < dim for each in gone)
    resized = any(part in name for part in RESIZING)
    return dim if resized and out.dim() == first.dim() else None


def _of(name: str, args: Sequence[Any]) -> Sequence[Any]:
    """The argument that names dimensions; a default of 0 may be left out."""
    if name in ("split", "split_with_sizes", "chunk"):
        return args[2:3] or [0]
    if name == "amax" or name == "amin":
        return args[1:2]
    return args[1:2] or ([0] if name in ("slice", "unbind", "select") else [])


def _dims(found: Sequence[Any], count: int) -> list[int]:
    named = [dim for each in found for dim in (each if isinstance(each, list | tuple) else [each])]
    return [dim % count for dim in named if isinstance(dim, int)]


def _permutation(name: str, args: Sequence[Any], count: int) -> list[int]:
    order = list(range(count))
    if name == "permute":
        return [dim % count for dim in args[1]]
    one, two = (args[1] % count, args[2] % count) if name == "transpose" else (0, count - 1)
    order[one], order[two] = order[two], order[one]
    return order


def _aligned(read: list[Tracked], shape: Sequence[int]) -> Track | None:
    """Of tensors that are broadcast to this shape."""
    if all(tensor.shape == shape for tensor, _ in read):
        found: Track | None = _only({track for _, track in read})
        return found
    right = _only({_from_right(tensor, track) for tensor, track in read if track})
    if right is None:
        return None
    # One value for all units, such as their mean, moves none.
    others = [tensor for tensor, track in read if track is None and tensor.dim() >= right]
    if any(tensor.shape[tensor.dim() - right] != 1 for tensor in others):
        return None
    return Track.along(shape, len(shape) - right)


def _common(read: list[Tracked], shape: Sequence[int]) -> Track | None:
    """Of tensors that are joined: the units' dimension is as long as before."""
    right = _only({_from_right(tensor, track) for tensor, track in read})
    units = _only({track.units for _, track in read if track})
    if right is None or shape[len(shape) - right] != units:
        return None
    return Track.along(shape, len(shape) - right)


def _from_right(tensor: Tensor, track: Track | None) -> int | None:
    dim = track.dimension(tensor.shape) if track else None
    return None if dim is None else tensor.dim() - dim


def _only(found: set[Any]) -> Any:
    return next(iter(found)) if len(found) == 1 else None


def product(name: str, args: Sequence[Any], weight: Tensor, track: Track, out: Tensor) -> Any:
    """The track of the units that this weight makes in a product, or None: it makes none.

    None too where the weight is read the other way round, as in the second half of a tied
    autoencoder, or where the operator is not known.
    """
    dim = track.dimension(weight.shape)
    if dim is None:
        return None
    if name == "linear" or ("conv" in name and not _transposed(args)):
        after = out.dim() - 1 if name == "linear" else 1
        return Track.along(out.shape, after) if dim == 0 else None
    if name not in PRODUCTS:
        return None
    right = args[PRODUCTS[name] + 1] is weight
    if dim != weight.dim() - (1 if right else 2):
        return None
    return Track.along(out.shape, out.dim() - (1 if right or out.dim() == 1 else 2))


def _transposed(args: Sequence[Any]) -> bool:
    return any(isinstance(each, bool) for each in args[6:7]) and bool(args[6])
