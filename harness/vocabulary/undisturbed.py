"""Runs passes through a model without changing it, and copies models."""

import copy
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy
import torch
from torch import Tensor, nn

from harness.vocabulary.given.errors import first_line
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import preserve_buffers


@contextmanager
def uncompiled() -> Iterator[None]:
    """Runs models that torch.compile wraps as they are written, operator by operator.

    Passes that look at single operators would compile anew at each of their calls, with warnings
    of dynamo, and may see other operators.
    """
    if "torch._dynamo" not in sys.modules:  # no model is compiled, and its import takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def preserve_random_streams(device: torch.device) -> Iterator[None]:
    """Restores the random streams of Python, NumPy and torch, and of this device, afterwards."""
    streams, numpy_state = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(streams)
        numpy.random.set_state(numpy_state)


@contextmanager
def preserve_model(model: nn.Module) -> Iterator[None]:
    """Restores modes, buffers, attributes and random streams after the context.

    Does so after an error too. A model may keep the state or activations of its last batch in
    attributes.
    """
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    with torch.random.fork_rng(devices), preserve_buffers(model):
        try:
            yield
        finally:
            for now, then in before:
                now.clear()
                now.update(then)


def deepcopy_model(model: nn.Module, replaced: Mapping[int, Tensor] | None = None) -> nn.Module:
    """Returns a deep copy. Activations that modules keep are copied without their graph.

    copy.deepcopy refuses tensors with a graph. replaced: id of a parameter or buffer -> what stands
    in its place in the copy, under each of its names.

    Raises:
        ValueError: The model holds something else that cannot be copied.
    """
    kept = (t for m in model.modules() for t in iter_tensors(vars(m)) if not t.is_leaf)
    memo = {id(tensor): tensor.detach().clone() for tensor in kept}
    try:
        return copy.deepcopy(model, {**memo, **(replaced or {})})
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(model).__name__} cannot be copied ({first_line(error)}); let its "
            "modules keep nothing of a forward pass, or detach it"
        ) from error
