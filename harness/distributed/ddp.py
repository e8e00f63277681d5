"""Wraps a model in DistributedDataParallel, whose backward pass averages gradients over ranks."""

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

FirstPass = Callable[[nn.Module], Tensor]  # replica -> loss of one or two samples
RegisterExchange = Callable[[DistributedDataParallel], None]  # of how gradients are exchanged


def replicate(
    model: nn.Module, device: torch.device, first_pass: FirstPass, install: RegisterExchange
) -> DistributedDataParallel:
    """Returns the model in DDP without buffer synchronization and with fixed gradient buckets.

    By default DDP rearranges its buckets after the first backward pass. Sums over three and more
    ranks depend on the position of a number in its bucket, so a resumed run would round
    differently. One backward pass therefore comes first, in eval mode, and its gradients are
    discarded. It also shows whether a parameter does not contribute to the loss.
    """
    replica = _wrapped(model, device)
    install(replica)  # Before the first pass, which would reduce dense gradients otherwise.
    with eval_mode(replica):
        first_pass(replica).backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    if unused:
        if device.type == "cuda":
            # This backward pass waited for no bucket, whose memory is still being written.
            torch.cuda.synchronize(device)
        replica = _wrapped(model, device, find_unused_parameters=True)
        install(replica)
    return replica


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Returns the buffers of all norm layers that keep running statistics."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    return list(dict.fromkeys(buffer for norm in norms for buffer in norm.buffers()))


def no_sync(replica: nn.Module) -> AbstractContextManager[None]:
    """Accumulates gradients of this rank only inside the context (gradient accumulation)."""
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
