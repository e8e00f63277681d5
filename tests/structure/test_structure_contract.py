"""Tests what every structure owes the pruner, on layers among which each finds units."""

import pytest
import torch
from conftest import every
from divisible_network import IMAGES, of_all_kinds
from left_alone import check_same, snapshot
from removed_units import reach_outputs
from torch import nn

from harness.groups.units import GroupUnits
from harness.vocabulary.tensors import prunable_weights


@every("structure")
def test_structure_finds_units_of_prunable_weights_and_leaves_the_model_alone(structure) -> None:
    model = of_all_kinds(structure.single_units).train()
    model.bn1.eval()
    before = snapshot(model)
    units = structure.units(model, IMAGES)
    check_same(snapshot(model), before)
    names = list(prunable_weights(model))
    assert units and [name for name in names if name in units] == list(units)


def alone(count: torch.Size, unit: int) -> torch.Tensor:
    """Returns bools of that shape, of which the one of this unit is True."""
    flags = torch.zeros(count, dtype=torch.bool)
    flags.view(-1)[unit] = True
    return flags


def ones(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(p, requires_grad=False) for name, p in model.named_parameters()}


@every("structure")
def test_no_entry_of_a_parameter_belongs_to_two_units(structure) -> None:
    model = of_all_kinds(structure.single_units)
    for each in structure.units(model, IMAGES).values():
        shape = each.pool(ones(model)).shape
        owners = {name: torch.zeros_like(model.get_parameter(name)) for name in each.masked}
        for unit in range(shape.numel()):
            for name, mask in each.masks(~alone(shape, unit)).items():
                owners[name] += ~mask
        assert all(count.max() <= 1 for count in owners.values())
        assert all((owners[name] == 1).all() for name in each.weights)


@every("structure")
def test_masks_and_pooling_agree_on_which_unit_is_where(structure) -> None:
    model = of_all_kinds(structure.single_units)
    for each in structure.units(model, IMAGES).values():
        shape = each.pool(ones(model)).shape
        for unit in range(min(shape.numel(), 8)):
            chosen = alone(shape, unit)
            masks = each.masks(chosen)
            for name, mask in masks.items():
                assert (mask.shape, mask.dtype) == (model.get_parameter(name).shape, torch.bool)
            own = {name: masks[name].float() for name in each.weights}
            assert torch.equal(each.pool(own) > 0, chosen) and torch.equal(each.alive(own), chosen)


@every("structure")
def test_layers_without_units_send_nothing_on(structure) -> None:
    """Checks that the outputs no longer depend on the inputs once all units of a layer are gone."""
    if structure.granularity == "weight":
        pytest.skip("single weights leave the bias and the norm of their layer")
    if structure.single_units:
        pytest.skip("a removed block gives its input on")
    model = of_all_kinds(structure.single_units).eval()
    for each in structure.units(model, IMAGES).values():
        whole = of_all_kinds(structure.single_units).eval()
        nothing = torch.zeros(each.pool(ones(model)).shape, dtype=torch.bool)
        for name, mask in each.masks(nothing).items():
            whole.get_parameter(name).detach().mul_(mask)
        one, two = (
            whole(torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(s)))
            for s in (1, 2)
        )
        assert torch.equal(one, two)


@every("structure")
def test_what_computes_removed_units_does_not_matter(structure) -> None:
    model = of_all_kinds(structure.single_units)
    units = structure.units(model, IMAGES)
    if not all(isinstance(each, GroupUnits) for each in units.values()):
        pytest.skip("units inside one weight: its layer goes on giving the rest")
    assert not reach_outputs(model, units, torch.randn(IMAGES.shape))
