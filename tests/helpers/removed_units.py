"""Removes units of a model, and shows whether anything of them reaches the outputs."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.units import Units, masks_of
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import Tensors


def masked(units: Units) -> dict[str, set[str]]:
    """Returns for each set of units the parameters of which a removed one owns entries."""
    return {name: set(each.masked) for name, each in units.items()}


@torch.no_grad()
def half(model: nn.Module, units: Units) -> Tensors:
    """Removes every second unit of each group from the model, in place; returns the masks."""
    masks = masks_of(units, _kept(units), {})
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)
    return masks


def _kept(units: Units) -> Tensors:
    return {name: torch.arange(each.group.units) % 2 == 0 for name, each in units.items()}


@torch.no_grad()
def reach_outputs(model: nn.Module, units: Units, sample: Any) -> bool:
    """True if the outputs of the masked model depend on what computes the removed units.

    Every second unit of each group is removed; then the rows, biases, norms and statistics that
    compute it are filled with other values, while the columns that read it stay masked. The model
    stays as it is.
    """
    model, stream = deepcopy(model).eval(), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=stream))
    half(model, units)
    before = _outputs(model, sample)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for each in units.values():
        for member in each.group.members:
            if member.role == "output":
                gone, tensor = member.indices[1::2].flatten(), tensors[member.name]
                other = torch.rand(tensor.shape, generator=stream) + 1
                tensor.movedim(member.dim, 0)[gone] = other.movedim(member.dim, 0)[gone]
    return not all(map(torch.equal, before, _outputs(model, sample)))


def _outputs(model: nn.Module, sample: Any) -> list[Tensor]:
    return [out.clone() for out in iter_tensors(model(sample))]
