"""Changes what decides how a model computes, apart from its tensors, on one rank."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn


class Line(nn.Linear):
    """Computes the same as nn.Linear in another class."""


def hook(model: nn.Module) -> None:
    model.get_submodule("fc1").register_forward_hook(lambda module, inputs, outputs: outputs * 0)


# What decides how a network computes beside its tensors.
MANNERS: dict[str, Callable[[nn.Module], object]] = {
    "hook": lambda m: hook(m[1]),
    "gradient hook": lambda m: m[1].fc1.weight.register_hook(lambda gradient: gradient * 0),
    "frozen": lambda m: m[1].fc1.weight.requires_grad_(False),
    "eps": lambda m: setattr(m[0], "eps", 50.0),
    "mode": lambda m: m[1].fc1.train(not m[1].fc1.training),
    "forward": lambda m: setattr(m[1].fc1, "forward", lambda inputs: inputs),
    "activation": lambda m: setattr(m[1], "act", partial(torch.nn.functional.leaky_relu)),
    "list": lambda m: setattr(m[1], "gains", [1.0, 2.0]),
    "plain tensor": lambda m: setattr(m[1], "gain", torch.ones(2)),
    "class": lambda m: setattr(m[1].fc1, "__class__", Line),
}


def holding(model: nn.Module) -> nn.Module:
    """Adds attributes of all kinds, equal on all ranks but not the same objects."""
    model[1].act, model[1].gains = torch.relu, [1.0, 1.0]
    model[1].gain, model[1].device = torch.zeros(2), f"cuda:{id(model)}"
    model[0].register_forward_hook(lambda module, inputs, outputs: outputs)
    return model
