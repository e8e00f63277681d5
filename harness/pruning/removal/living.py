"""Lets norms of a masked model take their statistics over the units that its masks leave.

A LayerNorm over units of which some are pruned would count their zeros, and the model without
them would be another function. With `structure.norms=living` it counts the units left alone, from
the pruning on, wherever the masked model runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from harness.groups.group import Group, kept_indices, living_units
from harness.groups.layers.norms import treatment
from harness.groups.living import (
    add_living_norms,
    living_indices,
    remove_living_norms,
    set_living_norms,
)
from harness.groups.removal import Norms
from harness.groups.units import GroupUnits, Units
from harness.pruning.masks import MaskStore
from harness.vocabulary.tensors import Tensors, all_tensors


def norms_of(model: nn.Module, units: Units) -> Norms:
    """Returns "living" if a norm takes statistics over the units that are left, else "exact"."""
    return "living" if _living_norms(model, units) else "exact"


def follow_masks(model: nn.Module, units: Units, masks: MaskStore) -> None:
    """Makes each norm over units take its statistics over those that these masks leave.

    It does so from now on, whenever masks change. Nothing happens to a model without such norms.
    """
    if not (norms := _living_norms(model, units)):
        return
    remove_living_norms(model)
    add_living_norms(model, dict.fromkeys(norms))

    def update(in_force: Tensors) -> None:
        set_living_norms(model, indices_left(model, units, in_force))

    masks.on_change = update
    update(masks.masks)


@contextmanager
def norms_restored_after_errors(model: nn.Module) -> Iterator[None]:
    hooks = {module: module._forward_hooks.copy() for module in model.modules()}
    try:
        yield
    except BaseException:
        for module, own in hooks.items():
            module._forward_hooks = own
        raise


def indices_left(model: nn.Module, units: Units, masks: Tensors) -> dict[str, Tensor]:
    """Returns for each norm over pruned units the indices of its width that are left.

    model, masks: in dense shapes.
    """
    groups = list(_groups_of(model, units))
    if not groups:
        return {}
    parameters = dict(model.named_parameters())
    left = living_units(groups, masks, parameters)
    kept = {name: flags for name, flags in left.items() if not flags.all()}
    cut = kept_indices(groups, kept, all_tensors(model))
    device = next(iter(parameters.values())).device
    found = living_indices(model, cut, groups, kept)
    return {name: indices.to(device) for name, indices in found.items()}


@contextmanager
def norms_under(
    model: nn.Module, units: Units, masks: Tensors, in_force: Tensors
) -> Iterator[None]:
    """Takes the statistics of norms over units that these masks leave inside the context.

    in_force: the masks that decide again at exit.
    """
    set_living_norms(model, indices_left(model, units, {**in_force, **masks}))
    try:
        yield
    finally:
        set_living_norms(model, indices_left(model, units, in_force))


def _groups_of(model: nn.Module, units: Units) -> Iterator[Group]:
    for each in units.values():
        if isinstance(each, GroupUnits) and any(_living(model, each.group)):
            yield each.group


def _living_norms(model: nn.Module, units: Units) -> list[str]:
    return [name for group in _groups_of(model, units) for name in _living(model, group)]


def _living(model: nn.Module, group: Group) -> Iterator[str]:
    return (name for name in group.mixing if treatment(model.get_submodule(name)) == "living")
