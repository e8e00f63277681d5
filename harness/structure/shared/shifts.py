"""Recognises what is added to units per channel: biases, shifts of norms, constants."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.structure.shared.operator_call import OTHER, OperatorCall
from harness.structure.shared.unit_layout import UnitLayout

SHIFTING = {"add", "sub", "rsub"}  # what they add to units stays when the units are gone


def varying_dims(tensor: Tensor) -> list[int]:
    """Returns its dimensions of different entries, counted from the right: -1 is the last."""
    # A dimension that is expanded repeats one entry.
    steps = tensor.stride() if tensor.layout == torch.strided else [1] * tensor.dim()
    sizes = enumerate(zip(tensor.shape, steps, strict=True))
    return [dim - tensor.dim() for dim, (size, step) in sizes if size > 1 and step]


def counted_dim(known: Iterable[Tensor], out: Tensor) -> int:
    """Returns the dimension of `out` that tensors of one dimension count, or the last one."""
    dims = {dim for tensor in known for dim in varying_dims(tensor)}
    return out.dim() + (dims.pop() if len(dims) == 1 else -1)


def one_per_unit(constant: Tensor, out: Tensor, layout: UnitLayout | None) -> bool:
    """True if it has one number for each unit in `out`, at that unit."""
    dims = varying_dims(constant)
    if not constant.is_floating_point() or len(dims) != 1 or constant.dim() > out.dim():
        return False
    return layout is None or layout == UnitLayout.of_dimension(out.shape, out.dim() + dims[0])


def changes_zero_units(
    call: OperatorCall, units: list[Tensor], parameters: Sequence[Tensor] = ()
) -> bool:
    """True if the operator maps units that are 0 to another value, whatever the parameters."""

    def value(tensor: Tensor) -> Tensor:
        if any(tensor is unit for unit in units):
            return torch.zeros_like(tensor)
        return (
            torch.full_like(tensor, OTHER)
            if any(tensor is p for p in parameters)
            else tensor.clone()
        )

    return not call.gives_zero(value)


def subtracts_mean(name: str, args: Sequence[Any]) -> bool:
    """True if it is a norm by a mean of other channels or of earlier batches.

    The mean of a channel that is 0 is 0, where the batch's own is taken.
    """
    kinds = ("batch_norm", "layer_norm", "group_norm")
    return any(kind in name for kind in kinds) and not any(argument is True for argument in args)
