"""A model whose backward averages gradients over ranks."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from harness.vocabulary.tensors import eval_mode

# Newer releases of torch renamed the switch; the old name warns there.
_SWITCHES = inspect.signature(DistributedDataParallel).parameters
_NEW, _OLD = "forward_sync_buffers", "broadcast_buffers"
NO_BUFFERS: dict[str, Any] = {_NEW if _NEW in _SWITCHES else _OLD: False}

Rehearsal = Callable[[nn.Module], Tensor]  # replica -> a loss of a sample or two
RegisterExchange = Callable[[DistributedDataParallel], None]  # of how gradients are exchanged


def replicate(
    model: nn.Module, device: torch.device, rehearse: Rehearsal, install: RegisterExchange
) -> DistributedDataParallel:
    """Buffers are never sent; the layout of the buckets is the same at every step.

    By default DDP rearranges its buckets after the first backward. Sums over three and more
    ranks depend on where in a bucket a number lies, so that a resumed run would round otherwise
    than one that was not interrupted. One backward is therefore rehearsed, in eval mode and with
    its gradients thrown away; it also shows whether any parameter is left out of the loss.
    """
    replica = _wrapped(model, device)
    install(replica)  # Before the rehearsal, which would send whole gradients otherwise.
    with eval_mode(replica):
        rehearse(replica).backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    if unused:
        if device.type == "cuda":
            # This backward waited for no bucket; their memory must not go while it is written.
            torch.cuda.synchronize(device)
        replica = _wrapped(model, device, find_unused_parameters=True)
        install(replica)
    return replica


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The buffers of all norms that keep running statistics."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    return list(dict.fromkeys(buffer for norm in norms for buffer in norm.buffers()))


def no_sync(replica: nn.Module) -> AbstractContextManager[None]:
    """Inside it a backward adds to this rank's gradients only (gradient accumulation)."""
    if isinstance(replica, DistributedDataParallel):
        return replica.no_sync()
    return nullcontext()


def _wrapped(
    model: nn.Module, device: torch.device, find_unused_parameters: bool = False
) -> DistributedDataParallel:
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused_parameters,
        **NO_BUFFERS,
    )
