"""A pass through a network that leaves it as it was."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module, sample: Tensor) -> Iterator[None]:
    """Inside, all parameters ask for gradients; outside, model and random streams are as before."""
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    copies = {b: b.clone() for _, found in buffers for b in found.values() if b is not None}
    devices = [sample.device] if sample.device.type == "cuda" else []
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        # The fast path would hide layers.
        torch.backends.mha.set_fastpath_enabled(False)
        model.requires_grad_(True)
        with (
            torch.enable_grad(),
            torch.random.fork_rng(devices=devices),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for parameter, requires_grad in trainable.items():
            parameter.requires_grad_(requires_grad)
        with torch.no_grad():
            for module, found in buffers:
                module._buffers.update(found)
            for buffer, copy in copies.items():
                buffer.copy_(copy)
