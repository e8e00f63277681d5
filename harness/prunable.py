"""What of a network is pruned: the weights of a structure's units, less those excluded."""

from collections.abc import Sequence

import torch
from torch import nn

from harness.masks import MaskStore
from harness.structure.base import Units
from harness.tensors import Tensors


def store_for(model: nn.Module, units: Units, may_grow: bool = False) -> MaskStore:
    """Masks, all True, of the units' weights and of what goes with them."""
    prunable = {name for weight, along in units.items() for name in (weight, *along)}
    parameters = {n: p for n, p in model.named_parameters() if n in prunable}
    return MaskStore(parameters, may_grow)


@torch.no_grad()
def take_over(model: nn.Module, values: Tensors) -> None:
    """Copies new values of some parameters into the model."""
    for name, value in values.items():
        model.get_parameter(name).copy_(value)


def without(units: Units, exclude: Sequence[str]) -> Units:
    """The units less those of excluded weights: "first", "last" (in model order), or names.

    A name is that of the layer ("fc1") or of its weight ("fc1.weight").

    Raises:
        ValueError: a name is no prunable layer's, or nothing is left to prune.
    """
    names = list(units)
    meanings = {"first": names[0], "last": names[-1]}
    meanings |= {name.removesuffix(".weight"): name for name in names} | {n: n for n in names}
    unknown = [word for word in exclude if word not in meanings]
    if unknown:
        raise ValueError(
            f"exclude names {unknown[0]!r}, which is no layer that this structure prunes; "
            f"there are: first, last, {', '.join(names)}"
        )
    kept = {n: along for n, along in units.items() if n not in {meanings[w] for w in exclude}}
    if not kept:
        raise ValueError(f"exclude={list(exclude)} leaves nothing to prune; exclude fewer layers")
    return kept
