"""Builds matched controls: other weights than the method's, with equal numbers in each layer."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from harness.structure.base import Structure
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors
from harness.vocabulary.topk import topk_mask

# The method itself; units drawn with equal chance; units of the largest pooled |weight|; the
# method's mask, permuted among the alive units; the method's mask on new initial weights.
Control = Literal["none", "random", "magnitude", "shuffled", "reinitialised"]


def apply_control(
    control: str,
    kept: Tensors,
    alive: Tensors,
    magnitudes: Mapping[str, Tensor],
    seed: int,
    structure: Structure | None = None,
) -> Tensors:
    """Returns unit masks in place of `kept`, with as many units of each tensor.

    A shuffled mask is a random mask of the same count, drawn from a stream of its own; n of m stay
    in each group.
    Frankle et al. 2021 (arXiv:2009.08576) shuffle and reinitialise to test whether a method at
    initialisation has found weights or only layer densities.

    Args:
        control: other than "none", what to build.
        kept: the method's unit masks.
        alive: the unit masks in force.
        magnitudes: pooled |weight| per unit.
        seed: the seed of the control's random streams.
        structure: selects units by their values; None takes the largest.
    """
    if control == "shuffled" and not (structure and structure.n_of_m):
        return {name: _shuffled(mask, alive[name], seed, name) for name, mask in kept.items()}
    if control not in ("random", "magnitude", "shuffled"):
        return kept
    values = {
        name: magnitudes[name] if control == "magnitude" else _noise(mask, seed, control, name)
        for name, mask in kept.items()
    }
    select = structure.select if structure else topk_mask
    return {
        name: select(torch.where(alive[name], values[name], -torch.inf), int(mask.count_nonzero()))
        for name, mask in kept.items()
    }


def _noise(like: Tensor, seed: int, control: str, name: str) -> Tensor:
    stream = torch.Generator().manual_seed(derive(seed, "control", control, name))
    return torch.rand(like.shape, generator=stream).to(like.device)


def _shuffled(mask: Tensor, alive: Tensor, seed: int, name: str) -> Tensor:
    stream = torch.Generator().manual_seed(derive(seed, "control", "shuffled", name))
    places = alive.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=stream).to(places.device)
    shuffled = torch.zeros_like(mask).flatten()
    shuffled[places] = mask.flatten()[places[order]]
    return shuffled.view(mask.shape)
