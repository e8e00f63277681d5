"""Announces collectives that components call in torch.distributed, as those of Ranks are.

Without this, a rank that reaches another collective, or has other tensors, is aborted by gloo or
receives data of another collective. Calls by torch's own modules, by DDP and by this project are
not changed, nor are collectives of a subgroup (group=).
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
_PACKAGE = os.path.dirname(__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
# Differentiable functions of torch.distributed, which components may call.
_FOR_PARTS = os.path.join(_TORCH, "distributed", "nn") + os.sep

_ranks: list[Ranks] = []  # Ranks of this process while it is in a group


def wrap_collectives() -> None:
    """Wraps the functions of torch.distributed.

    Components that import them later by name get the wrapper.
    """
    for name in NAMES:
        function = getattr(dist, name, None)
        if function is not None and not hasattr(function, CALLED_BY_PART):
            setattr(dist, name, _announced(function))


@contextmanager
def announcing(ranks: Ranks) -> Iterator[None]:
    """Announces the collectives of components to the other ranks inside the context."""
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
        tensors = [value for value in (*arguments, *more.values()) if isinstance(value, Tensor)]
        _announce(_ranks[-1], f"{function.__name__}, {CALLED_BY_PART}", layout(tensors))
        return function(*arguments, **more)

    setattr(call, CALLED_BY_PART, True)
    return call


def _announce(ranks: Ranks, name: str, forms: dict[str, str]) -> None:
    # Not all ranks need to call it, so it does not count as progress.
    ranks.heartbeat(alone=True)
    arrival = CollectiveCall(name, caller_location(), forms)
    with ranks.waiting(str(arrival)):
        sync_collective(arrival, ranks.control)


def _is_known(caller: FrameType) -> bool:
    """Returns True for callers in torch or the harness, also through one wrapper function."""
    file, before = caller.f_code.co_filename, caller.f_back
    of_torch = file.startswith(_TORCH) and not file.startswith(_FOR_PARTS)
    wrapped = before is not None and before.f_code.co_filename.startswith(_PACKAGE)
    return of_torch or file.startswith(_OURS) or wrapped


def _is_of_some(more: dict[str, Any]) -> bool:
    return more.get("group") not in (None, dist.group.WORLD)
