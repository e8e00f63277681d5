"""Groups of small networks, written by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.attributes import changes_below
from harness.groups.group import Group, Member, group_masks, kept_indices
from harness.groups.proof import Proof, prove
from harness.groups.removal import Removed, remove
from harness.vocabulary.tensors import all_tensors

Part = tuple[str, int, str] | tuple[str, int, str, Tensor]


def group(name: str, units: int, *parts: Part, mixing: tuple[str, ...] = ()) -> Group:
    """Returns a group of members (name, dim, role, indices); unit i owns index i by default."""
    whole = torch.arange(units).view(-1, 1)
    members = [Member(n, dim, rest[0] if rest else whole, role) for n, dim, role, *rest in parts]
    return Group(name, units, tuple(members), mixing=mixing)


def layer(name: str, *tensors: str) -> list[Part]:
    """Returns the members of a layer that computes a unit in each row."""
    return [(f"{name}.{tensor}", 0, "output") for tensor in tensors or ("weight", "bias")]


NORM = ("weight", "bias", "running_mean", "running_var")


def flags(text: str) -> Tensor:
    """Returns which units stay: "1" does, "0" goes.

    >>> flags("101").tolist()
    [True, False, True]
    """
    return torch.tensor([letter == "1" for letter in text])


def removed_from(
    model: nn.Module, groups: Sequence[Group], kept: Mapping[str, str], norms: Any = "exact"
) -> tuple[Removed, dict[str, Tensor]]:
    """Masks units of the model in place; returns it without them, and the masks."""
    chosen = {name: flags(text) for name, text in kept.items()}
    masks = group_masks(groups, chosen, dict(model.named_parameters()))
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    cut = kept_indices(groups, chosen, all_tensors(model))
    return remove(model, cut, groups, chosen, norms), masks


def proven(
    model: nn.Module,
    groups: Sequence[Group],
    kept: Mapping[str, str],
    example_input: Any,
    norms: Any = "exact",
) -> tuple[Removed, Proof]:
    removed, masks = removed_from(model, groups, kept, norms)
    partial = [one for one in groups if one.name in kept]
    changes = changes_below(model, removed.kept_indices, partial, removed.kept_units)
    return removed, prove(model, masks, removed, groups, example_input, changes)
