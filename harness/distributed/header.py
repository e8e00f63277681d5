"""Compares the ranks' collectives and tensors before a collective runs."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from harness.distributed.consistency import CollectiveCall, mismatch_error

_PACKAGE = os.path.dirname(__file__) + os.sep
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep
# Files of the standard library between a caller and this package.
_BETWEEN = ("contextlib.py", "functools.py")


def sync_collective(
    arrival: CollectiveCall, group: dist.ProcessGroup | None, number: int = 0
) -> bool:
    """Waits until all ranks have reached this collective. Returns True if `number` is equal on all.

    gloo aborts a rank that waits with tensors of another size, and silently adds tensors of other
    names. So no rank sends tensors before all ranks agree here. The message has 32 bytes for any
    number of ranks.

    Raises:
        RanksDisagree: On every rank, with all locations, if the ranks reached different
            collectives.
    """
    own = hashed([arrival.name, dict(arrival.layout)])
    # Instead of a gather: the maxima of x and of -1 - x belong to one x only if all x are equal.
    # only if all are equal.
    ends = torch.tensor([own, ~own, number, ~number])
    dist.all_reduce(ends, op=dist.ReduceOp.MAX, group=group)
    most, least, highest, lowest = ends.tolist()
    if most != ~least:
        calls: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(calls, arrival, group=group)
        raise mismatch_error(calls)
    return bool(highest == ~lowest)


def hashed(value: Any) -> int:
    """Returns a signed 64-bit hash of a plain value."""
    text = json.dumps(value, sort_keys=True)
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


def layout(tensors: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, str]:
    """Returns the properties of tensors that must be equal on all ranks, by name or position."""
    named = tensors if isinstance(tensors, Mapping) else dict(enumerate(tensors))
    return {str(name): _form(tensor) for name, tensor in named.items()}


def _form(tensor: Tensor) -> str:
    kind = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    # Tensors are sent in memory order.
    return kind if tensor.is_contiguous() else f"{kind} strides {tensor.stride()}"


def caller_location() -> str:
    """Returns file, line and function of the nearest caller outside this package.

    For example "harness/saliency/gradient.py:31, statistics".
    """
    frame = sys._getframe(1)
    # Compares plain text, because it runs before every collective.
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        while frame.f_back and frame.f_code.co_filename.endswith(_BETWEEN):
            frame = frame.f_back
    file = frame.f_code.co_filename
    shown = file.removeprefix(_ROOT) if file.startswith(_ROOT) else os.path.basename(file)
    return f"{shown}:{frame.f_lineno}, {frame.f_code.co_name}"
