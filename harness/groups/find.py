"""Finds the groups of a model."""

from typing import Any

from torch import nn

from harness.groups.constraints.settle import constrained
from harness.groups.group import Group
from harness.groups.tracing.dispatch import follow


def groups_of(model: nn.Module, example_input: Any) -> tuple[Group, ...]:
    """Returns the groups of a model's units, in model order, pinned ones included.

    The model runs once, in eval mode, and comes back as it was. Two indices of parameters belong
    to one unit if an operator of this pass adds, multiplies or sums over them together. Units
    whose members lie in the same dimensions, as often in each, form a group.

    Heads of attention belong to one unit with their part of the width that they read if the class
    of the layer says so, or if its code does not run without one of them alone, which is tried.

    example_input: what the model is called with, or a dict of keyword arguments; batches of two
        samples or more.
    """
    return constrained(model, example_input, follow(model, example_input))
