"""Defines groups: the units of a network whose parts must be kept or removed together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, lcm
from typing import Literal

import torch
from torch import Tensor, nn

from harness.vocabulary.tensors import Tensors

# Name of a parameter or buffer -> for each dimension the indices that are left, or None for all.
# A tensor without removed entries is not listed.
KeptIndices = Mapping[str, tuple[Tensor | None, ...]]
Attention = Literal["", "head", "width", "tied"]


@dataclass(frozen=True)
class Member:
    """Holds which slices of one dimension of a tensor the units of a group own.

    Args:
        name: of the parameter or buffer, as in `named_parameters()`.
        dim: the dimension that is cut.
        indices: (units, slices per unit), int64: the indices of `dim` that unit i owns.
        role: "output" if the slices compute the unit (a weight's rows, a bias, a norm's scale,
            shift and statistics), "input" if they read it (the columns of a consumer).
    """

    name: str
    dim: int
    indices: Tensor
    role: Literal["output", "input"]


@dataclass(frozen=True)
class Factor:
    """Holds a dimension of a product of two activations that shrinks with a group's units.

    Args:
        product: which one of the pass.
        module: that computes it.
        sizes: of its dimensions; it multiplies and adds as often as their product.
        dim: the dimension.
        per_unit: indices of it that each unit owns, on average.
        total: multiply-accumulates of all such products of the pass.
    """

    product: int
    module: str
    sizes: tuple[int, ...]
    dim: int
    per_unit: float
    total: int

    @property
    def name(self) -> str:
        """Returns the product's name, beside those of parameters."""
        return f"product {self.product}"


@dataclass(frozen=True)
class Group:
    """Holds units of which each is kept or removed whole, in all members.

    Args:
        name: of the first layer that computes the units, unique among the groups of a model.
        units: how many there are.
        members: what a unit consists of, in the order of the model's tensors.
        pinned: why no unit can be removed, or "".
        mixing: modules that take statistics over the units (a LayerNorm, an RMSNorm), so that
            a removed unit is not the same as one that is 0.
        attention: "head" if products of activations are taken unit by unit, as by the heads of
            attention; "tied" if such heads go with a part of the width that they read; "width" if
            such a product sums over the units or returns them; else "".
        factors: of products of two activations that shrink with the units.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    pinned: str = ""
    mixing: tuple[str, ...] = ()
    attention: Attention = ""
    factors: tuple[Factor, ...] = ()


def topology(group: Group, model: nn.Module) -> tuple[object, ...]:
    """Returns kinds and dimensions of all members in any order, without their sizes."""
    kinds = []
    for member in group.members:
        owner, _, tensor = member.name.rpartition(".")
        module = type(model.get_submodule(owner)).__name__
        kinds.append((module, tensor, member.dim, member.role))
    return group.attention, *sorted(kinds)


def units_at_once(rows: Iterable[Member], round_to: int) -> int:
    """Returns the least number of units that own a multiple of `round_to` rows in each tensor.

    A unit that owns 24 rows of one, as an attention head may, takes part in twos for 16.

    rows: the members that compute the units, several of a tensor if its rows lie apart.
    """
    owned: dict[str, int] = {}
    for member in rows:
        owned[member.name] = owned.get(member.name, 0) + member.indices.shape[1]
    return lcm(*(round_to // gcd(round_to, each) for each in owned.values()))


def kept_indices(
    groups: Sequence[Group], kept: Mapping[str, Tensor], tensors: Tensors
) -> KeptIndices:
    """Returns the indices that are left of each tensor when only these units stay.

    kept: group name -> (units,) bool, True stays; a group that is not named stays whole.
    tensors: of the dense model, by name.
    """
    alive = _alive(groups, kept, tensors)
    cut: dict[str, list[Tensor | None]] = {}
    for (name, dim), flags in alive.items():
        if not flags.all():
            indices = cut.setdefault(name, [None] * tensors[name].dim())
            indices[dim] = flags.nonzero().flatten()
    return {name: tuple(indices) for name, indices in cut.items()}


def group_masks(
    groups: Sequence[Group], kept: Mapping[str, Tensor], parameters: Tensors
) -> Tensors:
    """Returns masks, True stays, of all parameters of which removed units own entries.

    They cover the consumers' columns too, so that a removed unit gives nothing whatever its
    activation makes of 0.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    masks: Tensors = {}
    for group in groups:
        if group.name in kept and not kept[group.name].all():
            members = [member for member in group.members if member.name in parameters]
            for name, mask in member_masks(members, kept[group.name], shapes).items():
                masks[name] = masks[name] & mask if name in masks else mask
    return masks


def member_masks(
    members: Iterable[Member], kept: Tensor, shapes: Mapping[str, tuple[int, ...]]
) -> Tensors:
    """Returns the masks, True stays, of tensors of which only these units keep their slices.

    kept: (units,) bool. shapes: of the members' tensors, by name.
    """
    masks: Tensors = {}
    for member in members:
        shape = shapes[member.name]
        flags = kept.new_ones(shape[member.dim], dtype=torch.bool)
        flags[member.indices.to(kept.device)[~kept].flatten()] = False
        mask = flags.view([-1 if d == member.dim else 1 for d in range(len(shape))])
        mask = mask.expand(shape)
        masks[member.name] = masks[member.name] & mask if member.name in masks else mask
    return {name: mask.contiguous() for name, mask in masks.items()}


def living_units(
    groups: Sequence[Group], masks: Tensors, parameters: Collection[str]
) -> dict[str, Tensor]:
    """Returns for each group which units masks leave: (units,) bool, True stays.

    A unit is gone if every entry of a parameter that computes it is masked, whatever its consumers'
    masks say. parameters: names of those of the model; buffers have no masks.
    """
    return {group.name: _left(group, masks, parameters) for group in groups}


def _left(group: Group, masks: Tensors, parameters: Collection[str]) -> Tensor:
    outputs = {m.name for m in group.members if m.role == "output" and m.name in parameters}
    if outputs <= masks.keys():
        return alive_in(group, masks).cpu()
    return torch.ones(group.units, dtype=torch.bool)


def alive_in(group: Group, kept: Tensors) -> Tensor:
    """Returns for each unit whether an entry that computes it is not 0: (units,) bool.

    kept: masks, or the parameters themselves, by name; members without one say nothing.
    """
    found: Tensor | None = None
    for member in group.members:
        if member.role == "output" and member.name in kept:
            rows = (kept[member.name].detach() != 0).movedim(member.dim, 0)
            flags = rows.reshape(len(rows), -1).any(1)
            alive = flags[member.indices.to(flags.device)].any(1)
            found = alive if found is None else found | alive
    return torch.ones(group.units, dtype=torch.bool) if found is None else found


def _alive(
    groups: Sequence[Group], kept: Mapping[str, Tensor], tensors: Tensors
) -> dict[tuple[str, int], Tensor]:
    """Returns for each dimension that a removed unit cuts which indices stay, as bools."""
    alive: dict[tuple[str, int], Tensor] = {}
    for group in groups:
        gone = ~kept.get(group.name, torch.ones(group.units, dtype=torch.bool)).cpu()
        for member in group.members if gone.any() else ():
            if member.name not in tensors:
                continue
            size = tensors[member.name].shape[member.dim]
            flags = alive.setdefault((member.name, member.dim), torch.ones(size, dtype=torch.bool))
            flags[member.indices[gone].flatten()] = False
    return alive
