"""What ranks tell each other before a collective: to which one they have come, and with what."""

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

_HERE = os.path.dirname(__file__) + os.sep
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep
# Of the standard library, which callers go through.
_BETWEEN = ("contextlib.py", "functools.py")


def sync_collective(
    arrival: CollectiveCall, group: dist.ProcessGroup | None, number: int = 0
) -> bool:
    """Waits until all ranks have come to this collective; tells whether `number` is equal on all.

    gloo answers tensors of other sizes by an abort of the rank that waits, and adds tensors of
    other names without a word. So no rank sends any before all have said the same here. The
    message has 32 bytes, however many ranks there are.

    Raises:
        RanksDisagree: on every rank, with the places of all, if they came to different ones.
    """
    mine = hashed([arrival.name, dict(arrival.layout)])
    # In place of a gather: the largest of x and of -1 - x are both known to all, and are of one x
    # only if all are equal.
    ends = torch.tensor([mine, ~mine, number, ~number])
    dist.all_reduce(ends, op=dist.ReduceOp.MAX, group=group)
    most, least, highest, lowest = ends.tolist()
    if most != ~least:
        every: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(every, arrival, group=group)
        raise mismatch_error(every)
    return bool(highest == ~lowest)


def hashed(value: Any) -> int:
    """A whole number of 64 bits, with sign, that the plain value decides."""
    text = json.dumps(value, sort_keys=True)
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


def layout(tensors: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, str]:
    """What must be equal on all ranks of tensors that they sum or send, by name or position."""
    named = tensors if isinstance(tensors, Mapping) else dict(enumerate(tensors))
    return {str(name): _form(tensor) for name, tensor in named.items()}


def _form(tensor: Tensor) -> str:
    kind = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    # They are sent as they lie in memory.
    return kind if tensor.is_contiguous() else f"{kind} strides {tensor.stride()}"


def caller_location() -> str:
    """Names file, line and function of the nearest caller outside this package, as
    "harness/saliency/gradient.py:31, statistics"."""
    frame = sys._getframe(1)
    # By plain text: it is asked for before every collective.
    while frame.f_back and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
        while frame.f_back and frame.f_code.co_filename.endswith(_BETWEEN):
            frame = frame.f_back
    file = frame.f_code.co_filename
    shown = file.removeprefix(_ROOT) if file.startswith(_ROOT) else os.path.basename(file)
    return f"{shown}:{frame.f_lineno}, {frame.f_code.co_name}"
