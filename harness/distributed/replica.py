"""A model whose backward averages gradients over ranks."""

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

# Newer releases of torch renamed the switch; the old name warns there.
_SWITCHES = inspect.signature(DistributedDataParallel).parameters
_NEW, _OLD = "forward_sync_buffers", "broadcast_buffers"
NO_BUFFERS: dict[str, Any] = {_NEW if _NEW in _SWITCHES else _OLD: False}


def replicate(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Buffers are never sent; the layout of the buckets never changes.

    By default DDP rearranges its buckets after the first backward. Sums over three and more
    ranks depend on where in a bucket a number lies, so a run that was resumed would round
    otherwise. Looking for unused parameters is what keeps DDP from rearranging.
    """
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(
        model, device_ids=devices, find_unused_parameters=True, **NO_BUFFERS
    )


def no_sync(replica: nn.Module) -> AbstractContextManager[None]:
    """Inside it a backward adds to this rank's gradients only (gradient accumulation)."""
    if isinstance(replica, DistributedDataParallel):
        return replica.no_sync()
    return nullcontext()
