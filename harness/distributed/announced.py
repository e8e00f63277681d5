"""Collectives that parts ask of torch for themselves: announced as those of Ranks are.

Without a word a rank that comes to another collective than the others, or with other tensors, is
aborted by gloo, or gets what was meant for others. Calls of torch's own modules, of DDP and of this
project's are left as they are, and so are those among some of the ranks (group=).
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from harness.distributed.consistency import CollectiveCall
from harness.distributed.header import caller_location, layout, sync_collective
from harness.distributed.heartbeats import CALLED_BY_PART
from harness.distributed.ranks import Ranks

NAMES = (
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all",
    "all_to_all_single", "barrier", "broadcast", "broadcast_object_list", "gather",
    "gather_object", "monitored_barrier", "reduce", "reduce_scatter", "reduce_scatter_tensor",
    "scatter", "scatter_object_list",
)  # fmt: skip
_TORCH = os.path.dirname(torch.__file__) + os.sep
_HERE = os.path.dirname(__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
# Functions with a gradient around those of torch.distributed, for parts.
_FOR_PARTS = os.path.join(_TORCH, "distributed", "nn") + os.sep

_ranks: list[Ranks] = []  # of this process, while it is in a group


def wrap_collectives() -> None:
    """From now on parts get announced functions, also those that they import by name."""
    for name in NAMES:
        function = getattr(dist, name, None)
        if function is not None and not hasattr(function, CALLED_BY_PART):
            setattr(dist, name, _announced(function))


@contextmanager
def announcing(ranks: Ranks) -> Iterator[None]:
    """Inside, this rank says to the others which collective of a part it has come to."""
    wrap_collectives()
    _ranks.append(ranks)
    try:
        yield
    finally:
        _ranks.pop()


def _announced(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **more: Any) -> Any:
        if not _ranks or _is_known(sys._getframe(1)) or _is_of_some(more):
            return function(*arguments, **more)
        given = [one for one in (*arguments, *more.values()) if isinstance(one, Tensor)]
        _announce(_ranks[-1], f"{function.__name__}, {CALLED_BY_PART}", layout(given))
        return function(*arguments, **more)

    setattr(call, CALLED_BY_PART, True)
    return call


def _announce(ranks: Ranks, what: str, forms: dict[str, str]) -> None:
    # It need not come on all ranks, so it is no progress.
    ranks.heartbeat(alone=True)
    arrival = CollectiveCall(what, caller_location(), forms)
    with ranks.waiting(str(arrival)):
        sync_collective(arrival, ranks.control)


def _is_known(caller: FrameType) -> bool:
    """Also if somebody has put a function between, as who counts calls does."""
    file, before = caller.f_code.co_filename, caller.f_back
    of_torch = file.startswith(_TORCH) and not file.startswith(_FOR_PARTS)
    between = before is not None and before.f_code.co_filename.startswith(_HERE)
    return of_torch or file.startswith(_OURS) or between


def _is_of_some(more: dict[str, Any]) -> bool:
    return more.get("group") not in (None, dist.group.WORLD)
