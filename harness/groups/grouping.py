"""Makes groups of joined ids: units whose members lie in the same dimensions, as often in each."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from harness.groups.group import Attention, Factor, Group, Member
from harness.groups.ids import Ids, IdTable

UNREAD = "no layer reads it"
# Slots with the number of ids in each: what all units of a group have in common.
Shape = tuple[tuple[int, int], ...]


def grouped(table: IdTable) -> tuple[Group, ...]:
    """Returns the groups of the units that a table's ids make, in model order, pinned ones too."""
    components = table.components()
    pins, mixes = table.pins(components), table.mixes(components)
    attended = table.attended(components)
    pins = dict.fromkeys(table.unread(components).tolist(), UNREAD) | pins
    made = table.made()
    inputs = table.contracted() & ~made
    groups: list[Group] = []
    owners = np.full(table.count, -1)
    for shape, units in _by_shape(table, components).items():
        for reason, chosen in _by_reason(units, pins):
            mixing = tuple(dict.fromkeys(m for unit in chosen for m in mixes.get(unit, ())))
            members = _members(table, components, shape, chosen, inputs)
            name = _layer(table, made, components, shape, chosen[0])
            attention = _attention({attended.get(unit, "") for unit in chosen})
            owners[chosen] = len(groups)
            groups.append(Group(name, len(chosen), members, reason, mixing, attention))
    return tuple(_unique(_with_factors(groups, table, owners[components])))


def _by_shape(table: IdTable, components: Ids) -> dict[Shape, list[int]]:
    """Returns components that a layer makes, by the slots in which they lie."""
    slot_of = np.repeat(np.arange(len(table.slots)), [slot.size for slot in table.slots])
    made = np.zeros(table.count, dtype=np.bool_)
    made[components[table.made()]] = True
    chosen = made[components]
    pairs = np.stack([components[chosen], slot_of[chosen]], 1)
    pairs, counts = np.unique(pairs, axis=0, return_counts=True)
    shapes: dict[int, list[tuple[int, int]]] = {}
    for (component, slot), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        shapes.setdefault(component, []).append((slot, count))
    found: dict[Shape, list[int]] = {}
    for component, shape in shapes.items():
        found.setdefault(tuple(shape), []).append(component)
    return found


def _by_reason(units: list[int], pins: dict[int, str]) -> Iterator[tuple[str, list[int]]]:
    reasons: dict[str, list[int]] = {}
    for unit in units:
        reasons.setdefault(pins.get(unit, ""), []).append(unit)
    yield from reasons.items()


def _members(
    table: IdTable, components: Ids, shape: Shape, units: list[int], inputs: NDArray[np.bool_]
) -> tuple[Member, ...]:
    members = []
    for number, count in shape:
        slot = table.slots[number]
        own = components[slot.start : slot.start + slot.size]
        order = np.argsort(own, kind="stable")
        starts = np.searchsorted(own[order], units)
        indices = order[starts[:, None] + np.arange(count)]
        is_input = inputs[slot.start + indices[0, 0]]
        role: Literal["output", "input"] = "input" if is_input else "output"
        members.append(Member(slot.name, slot.dim, torch.from_numpy(indices), role))
    return tuple(members)


def _with_factors(groups: list[Group], table: IdTable, owners: Ids) -> list[Group]:
    """Returns the groups with the products of two activations that shrink with their units.

    owners: id -> position of its group, or -1.
    """
    found: list[list[Factor]] = [[] for _ in groups]
    total = sum(prod(product.sizes) for product in table.products)
    for number, product in enumerate(table.products):
        for dim, ids in enumerate(product.ids):
            own = owners[ids] if ids is not None else owners[:0]
            for group, count in zip(*np.unique(own[own >= 0], return_counts=True), strict=True):
                each = int(count) / groups[group].units
                place = product.module, product.sizes, dim
                found[group].append(Factor(number, *place, each, total))
    return [replace(group, factors=tuple(f)) for group, f in zip(groups, found, strict=True)]


def _attention(kinds: set[Attention]) -> Attention:
    return kinds.pop() if len(kinds) == 1 else "width"


def _layer(
    table: IdTable, made: NDArray[np.bool_], components: Ids, shape: Shape, unit: int
) -> str:
    """Returns the name of the first layer that computes the unit."""
    for number, _ in shape:
        slot = table.slots[number]
        part = slice(slot.start, slot.start + slot.size)
        if (made[part] & (components[part] == unit)).any():
            break
    return slot.name.rpartition(".")[0] or slot.name


def _unique(groups: list[Group]) -> Iterator[Group]:
    """Yields the groups, with numbers behind names that occur again."""
    seen: dict[str, int] = {}
    for group in groups:
        seen[group.name] = seen.get(group.name, 0) + 1
        yield (
            group
            if seen[group.name] == 1
            else replace(group, name=f"{group.name}#{seen[group.name]}")
        )
