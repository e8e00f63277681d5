"""Finds the units of a smaller model among those of the dense one."""

from dataclasses import replace
from itertools import zip_longest

import torch
from torch import Tensor

from harness.groups.group import KeptIndices, Member
from harness.groups.units import GroupUnits, Units


def units_left(units: Units, kept_indices: KeptIndices) -> Units:
    """Returns the units of groups of which a smaller model has kept these indices.

    Units inside one weight are left out, unless nothing was removed.
    """
    if not kept_indices:
        return units
    left = {
        name: _of_smaller(each, kept_indices)
        for name, each in units.items()
        if isinstance(each, GroupUnits)
    }
    return {name: each for name, each in left.items() if each.group.units}


def _of_smaller(units: GroupUnits, kept_indices: KeptIndices) -> GroupUnits:
    group, left = units.group, torch.ones(units.group.units, dtype=torch.bool)
    for member in group.members:
        if (indices := _kept(member, kept_indices)) is not None:
            left &= torch.isin(member.indices, indices).all(1)
    members = []
    for member in group.members:
        own, indices = member.indices[left], _kept(member, kept_indices)
        own = own if indices is None else torch.searchsorted(indices, own)
        members.append(replace(member, indices=own))
    shapes = {n: _shape(shape, kept_indices.get(n, ())) for n, shape in units.shapes.items()}
    smaller = replace(group, units=int(left.count_nonzero()), members=tuple(members))
    return replace(units, group=smaller, shapes=shapes)


def _kept(member: Member, kept_indices: KeptIndices) -> Tensor | None:
    dims = kept_indices.get(member.name)
    indices = None if dims is None else dims[member.dim]
    return None if indices is None else indices.cpu()


def _shape(shape: tuple[int, ...], kept: tuple[Tensor | None, ...]) -> tuple[int, ...]:
    pairs = zip_longest(shape, kept)
    return tuple(size if indices is None else len(indices) for size, indices in pairs)
