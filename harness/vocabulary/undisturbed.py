"""Work with a network that leaves it as it was: passes through it, and copies of it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import preserve_buffers


@contextmanager
def preserve_model(network: nn.Module) -> Iterator[None]:
    """Outside, modes, buffers, attributes and random streams are as before, also after an error.

    Attributes too: a network may keep the state or the activations of its last batch in one.
    """
    devices = {p.device for p in network.parameters() if p.device.type == "cuda"}
    before = [(vars(module), dict(vars(module))) for module in network.modules()]
    with torch.random.fork_rng(devices), preserve_buffers(network):
        try:
            yield
        finally:
            for now, then in before:
                now.clear()
                now.update(then)


def deepcopy_model(network: nn.Module) -> nn.Module:
    """A deep copy. What its modules keep of a pass (an activation) comes along without its graph,
    which copy.deepcopy refuses.

    Raises:
        ValueError: there is more that cannot be copied.
    """
    kept = (t for m in network.modules() for t in iter_tensors(vars(m)) if not t.is_leaf)
    try:
        return copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in kept})
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(network).__name__} cannot be copied ({str(error).splitlines()[0]}); let its "
            "modules keep nothing of a forward pass, or detach it"
        ) from error
