"""Decides for each layer of attention whether its heads are free, tied to a width, or stay.

torch's own class says so. Any other is tried: if its module runs without some heads, they are
free. Else heads and width are joined: unit i of u owns the heads and the channels of part i of u.
If the model does not run without such a unit either, all of them stay.
"""

from collections.abc import Iterator, Sequence
from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.groups.constraints.candidates import (
    Candidate,
    Dimension,
    candidates_of,
    multihead_attentions,
)
from harness.groups.constraints.probe import (
    difference_without,
    in_module,
    inputs_of,
    runs_without_heads,
)
from harness.groups.group import Group, Member
from harness.groups.grouping import grouped
from harness.groups.ids import Ids, IdTable
from harness.groups.layers.norms import treatment
from harness.groups.proving.pair import REFUSALS

EQUAL = "heads x head_dim = width"
FIXED = f"{EQUAL}, of which a part belongs to no layer,"
INDIVISIBLE = f"{EQUAL}, which have no equal parts,"
NEITHER = f"{EQUAL}, and the code fails without equal shares of them,"


def constrained(model: nn.Module, example_input: Any, table: IdTable) -> tuple[Group, ...]:
    """Returns the groups of a table, in which units that constraints tie are one."""
    groups = grouped(table)
    if by_class := multihead_attentions(model):
        groups = _joined(table, by_class, groups, model)
    tied = tuple(_tied(model, candidates_of(model, groups), groups, example_input))
    if tied:
        groups = _joined(table, tied, groups, model)
    while failing := _failing(model, tied, groups, example_input):
        for candidate in failing:
            _pin(table, candidate, model, NEITHER)
        tied = tuple(candidate for candidate in tied if candidate not in failing)
        groups = grouped(table)
    return groups


def _tied(
    model: nn.Module,
    candidates: Sequence[Candidate],
    groups: Sequence[Group],
    example_input: Any,
) -> Iterator[Candidate]:
    """Yields the candidates whose modules do not run without heads alone.

    Modules of one class and of the same sizes are tried once.
    """
    heads = [
        tuple(in_module(model, c.owner, group) for group in groups if group.name in c.groups)
        for c in candidates
    ]
    keys = [_key(model, *each) for each in zip(candidates, heads, strict=True)]
    first = {key: at for at, key in reversed(list(enumerate(keys)))}
    owners = {key: candidates[at].owner for key, at in first.items()}
    calls = inputs_of(model, tuple(owners.values()), example_input) if owners else {}
    runs = {
        key: runs_without_heads(model.get_submodule(owner), heads[first[key]], calls[owner])
        for key, owner in owners.items()
        if owner in calls
    }
    for candidate, key in zip(candidates, keys, strict=True):
        if runs.get(key) is False:
            yield candidate


def _key(model: nn.Module, candidate: Candidate, heads: Sequence[Group]) -> Any:
    module = model.get_submodule(candidate.owner)
    sizes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters())
    return type(module), sizes, tuple((g.units, *(m.name for m in g.members)) for g in heads)


def _joined(
    table: IdTable, candidates: Sequence[Candidate], groups: Sequence[Group], model: nn.Module
) -> tuple[Group, ...]:
    for candidate in candidates:
        _join(table, candidate, groups, model)
    return grouped(table)


def _join(table: IdTable, candidate: Candidate, groups: Sequence[Group], model: nn.Module) -> None:
    """Joins heads and channels to the most units that divide both, in order."""
    heads = _ids(table, candidate.heads).reshape(candidate.count, -1)
    owned = [part for width in candidate.widths for part in _owned(width, groups)]
    channels = [_first_ids(table, group) for group, _ in owned]
    units = gcd(candidate.count, *map(len, channels))
    first = heads.reshape(units, -1)
    table.attend(first, "tied")
    for group in groups:
        if group.name in candidate.beside:
            channels.append(_first_ids(table, group))
    for ids in (first, *channels):
        table.join(first[:, :1], ids.reshape(units, -1))
    widths = sum(len(_ids(table, width)) for width in candidate.widths)
    if sum(member.indices.numel() for _, member in owned) < widths:
        _pin(table, candidate, model, FIXED)
    elif units == 1:
        _pin(table, candidate, model, INDIVISIBLE)


def _owned(width: Dimension, groups: Sequence[Group]) -> Iterator[tuple[Group, Member]]:
    """Yields each group that has a part of the dimension, with this part."""
    for group in groups:
        for member in group.members:
            if (member.name, member.dim) == width:
                yield group, member


def _first_ids(table: IdTable, group: Group) -> Ids:
    member = group.members[0]
    ids: Ids = _ids(table, Dimension(member.name, member.dim))[member.indices[:, 0].numpy()]
    return ids


def _ids(table: IdTable, dimension: Dimension) -> Ids:
    slot = next(s for s in table.slots if (s.name, s.dim) == dimension)
    return np.arange(slot.start, slot.start + slot.size)


def _pin(table: IdTable, candidate: Candidate, model: nn.Module, why: str) -> None:
    kind = type(model.get_submodule(candidate.owner)).__name__
    reason = f"{why} in {candidate.owner or 'the model'} ({kind})"
    for dimension in (candidate.heads, *candidate.rows, *candidate.widths):
        table.pin(_ids(table, dimension), reason)


def _failing(
    model: nn.Module, tied: Sequence[Candidate], groups: Sequence[Group], example_input: Any
) -> list[Candidate]:
    """Returns the candidates whose code does not run without half of their units."""
    concerned = {d for candidate in tied for d in (candidate.heads, *candidate.widths)}
    free = [group for group in groups if not group.pinned]
    chosen = [g for g in free if g.units > 1 and _has(g, concerned) and _can_go(model, g)]
    kept = {group.name: _half(group) for group in chosen}
    if not tied or not kept:
        return []
    try:
        difference = difference_without(model, free, kept, example_input)
    except REFUSALS:
        return list(tied)
    if difference is None:
        return []
    kinds = {
        type(model.get_submodule(candidate.owner))
        for candidate in tied
        if _is_at(difference.module, candidate.owner)
    }
    near = [c for c in tied if type(model.get_submodule(c.owner)) in kinds]
    return near or list(tied)


def _has(group: Group, dimensions: set[Dimension]) -> bool:
    return any(Dimension(member.name, member.dim) in dimensions for member in group.members)


def _can_go(model: nn.Module, group: Group) -> bool:
    return all(treatment(model.get_submodule(name)) != "refused" for name in group.mixing)


def _half(group: Group) -> Tensor:
    return torch.arange(group.units) < group.units // 2


def _is_at(module: str, owner: str) -> bool:
    return module == owner or module.startswith(f"{owner}.")
