"""Runs a pass whose operators are all visible, and leaves the model as it was."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.groups.living import whole_norms
from harness.vocabulary.undisturbed import preserve_model, uncompiled

# They call the module inside on devices of their own.
WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")


def check_followable(model: nn.Module) -> None:
    """Checks that the operators of a model's forward pass can be seen one by one.

    Raises:
        ValueError: it is, or holds, a wrapper of several devices or a scripted module.
    """
    for name, module in model.named_modules():
        where, kind = name or "model", type(module).__name__
        if kind in WRAPPERS:
            raise ValueError(
                f"{where} is a {kind}, which calls the module inside on devices of its own; give "
                f"{where}.module, and wrap the result anew"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{where} is a {kind}, whose operators cannot be seen; give the module that it was "
                "made from, and script the result anew"
            )


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Makes all parameters require gradients; model and random streams are restored at exit."""
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        # The fast path would hide layers.
        torch.backends.mha.set_fastpath_enabled(False)
        model.requires_grad_(True)
        with (
            torch.enable_grad(), whole_norms(model), preserve_model(model), uncompiled(),
            warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for parameter, requires_grad in trainable.items():
            parameter.requires_grad_(requires_grad)


def writable(sample: Tensor) -> Tensor:
    """Returns a copy with a gradient, which checkpoints need.

    It is no leaf, so that models may write to it.
    """
    with torch.enable_grad():
        if sample.is_inference():  # it can never have a gradient
            sample = sample.clone()
        return sample.detach().requires_grad_(sample.is_floating_point()).clone()
