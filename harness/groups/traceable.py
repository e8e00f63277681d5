"""Runs a pass whose operators are all visible, and leaves the model as it was."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.groups.living import whole_norms
from harness.vocabulary.undisturbed import preserve_model, uncompiled


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
        return sample.detach().requires_grad_(sample.is_floating_point()).clone()
