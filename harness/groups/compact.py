"""Compacts a masked model: finds the units that are left, removes the others, proves the result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from harness.groups.attributes import Attributes, changes_below
from harness.groups.blocks import without_blocks
from harness.groups.group import Group, KeptIndices, alive_in, kept_indices, living_units
from harness.groups.layers.queries import query_scales
from harness.groups.proof import Proof, first_difference, prove
from harness.groups.removal import Norms, Removed, multiplied, remove, slice_tensor
from harness.vocabulary.tensors import Tensors, all_tensors

PART = "heads x head_dim = width, and only one of both is masked"


@dataclass(frozen=True)
class Compacted:
    """Holds a model without its removed units, what a later load repeats, and the proof.

    Args:
        model: of the same class, with the same tensor names.
        kept_indices: which entries of the dense tensors are left; a tensor not named is whole.
        attributes: "module.attribute" -> (dense value, value here).
        scales: parameter of an RMSNorm or of a layer of queries -> the factor by which its kept
            entries were multiplied.
        norms: "exact", or "living" if the masked network must take statistics over kept units.
        left_whole: group of which masked units stay, as zeros -> why: it is pinned, or only heads,
            or only their part of a width, are masked.
        proof: worst relative errors; None if nothing was removed.
        blocks: modules in whose place is nn.Identity.
    """

    model: nn.Module
    kept_indices: KeptIndices
    attributes: Attributes
    scales: dict[str, float]
    norms: Norms
    left_whole: dict[str, str]
    proof: Proof | None
    blocks: tuple[str, ...] = ()


def compact_model(
    model: nn.Module,
    masks: Tensors,
    groups: Sequence[Group],
    example_input: Any,
    norms: Norms = "exact",
    blocks: tuple[str, ...] = (),
) -> Compacted:
    """Returns the model without units whose masks are 0 throughout, proven to be the masked one.

    A unit is removed if the masks cover all that computes it and its group is not pinned. Single
    pruned weights, and pinned units, stay as zeros. The given model does not change.

    Args:
        masks: parameter name -> bool of its shape, True stays.
        groups: those of the model without the blocks.
        example_input: as of `prove`.
        norms: as of `remove`.
        blocks: residual blocks to remove, of which the masks leave nothing.

    Raises:
        ValueError: the masks leave a group without units, or as of `remove` and `prove`.
    """
    free = [group for group in groups if not group.pinned]
    deep = without_blocks(model, blocks)
    units = living_units(free, masks, dict(deep.named_parameters()))
    kept = {name: left for name, left in units.items() if not left.all()}
    cut = kept_indices(free, kept, all_tensors(deep))
    removed = replace(remove(deep, cut, free, kept, norms), blocks=blocks)
    _apply_masks(removed, masks)
    proof = None
    if cut or blocks:
        partial = [group for group in free if group.name in kept]
        changes = changes_below(deep, cut, free, kept)
        scaled = multiplied(removed, query_scales(deep, partial, kept))
        if scaled is not removed:
            rest = free, example_input
            removed = _without_difference(model, masks, (removed, scaled), *rest)
        proof = prove(model, masks, removed, free, example_input, changes)
    scales = dict(removed.scales)
    whole = _left_whole(groups, masks, dict(model.named_parameters()))
    return Compacted(removed.model, cut, removed.attributes, scales, norms, whole, proof, blocks)


def _without_difference(
    model: nn.Module,
    masks: Tensors,
    candidates: Sequence[Removed],
    groups: Sequence[Group],
    example_input: Any,
) -> Removed:
    """Returns the first of these that computes what the masked model does, else the first."""
    rest = groups, example_input, dict[str, Any]()
    equal = (made for made in candidates if first_difference(model, masks, made, *rest) is None)
    return next(equal, candidates[0])


def _left_whole(groups: Sequence[Group], masks: Tensors, parameters: Tensors) -> dict[str, str]:
    units = living_units(groups, masks, parameters)
    why = {group.name: group.pinned for group in groups if not units[group.name].all()}
    for group in groups:
        tied = group.attention == "tied" and not group.pinned and units[group.name].all()
        if tied and _has_masked_part(group, masks):
            why[group.name] = PART
    return {name: reason for name, reason in why.items() if reason}


def _has_masked_part(group: Group, masks: Tensors) -> bool:
    """Returns True if all rows of a unit in one of its layers are masked."""
    return any(
        not alive_in(replace(group, members=(member,)), masks).all()
        for member in group.members
        if member.role == "output" and member.name in masks
    )


@torch.no_grad()
def _apply_masks(removed: Removed, masks: Tensors) -> None:
    parameters = dict(removed.model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            continue  # of a block that is removed
        left = slice_tensor(mask, removed.kept_indices.get(name, ()))
        parameters[name].mul_(left.to(parameters[name].device))
