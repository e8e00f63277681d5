"""Tests what every structure owes the pruner, on layers among which each finds units."""

import pytest
import torch
from conftest import every
from divisible_network import IMAGES, both
from left_alone import check_same, snapshot
from torch import nn

from harness.vocabulary.tensors import prunable_weights


@every("structure")
def test_structure_finds_units_of_prunable_weights_and_leaves_the_model_alone(structure) -> None:
    model = both().train()
    model.bn1.eval()
    before = snapshot(model)
    units = structure.units(model, IMAGES)
    check_same(snapshot(model), before)
    names = list(prunable_weights(model))
    assert units and [name for name in names if name in units] == list(units)


@every("structure")
def test_what_goes_along_has_one_entry_per_unit_and_one_owner(structure) -> None:
    model = both()
    units = structure.units(model, IMAGES)
    taken = [name for along in units.values() for name in along]
    assert len(taken) == len(set(taken)) and not set(taken) & set(prunable_weights(model))
    for weight, along in units.items():
        count = structure.pool(model.get_parameter(weight).detach()).numel()
        for name in along:
            assert model.get_parameter(name).shape == (count,)


@every("structure")
def test_expanding_and_pooling_agree_on_which_unit_is_where(structure) -> None:
    model = both()
    for name in structure.units(model, IMAGES):
        weight = model.get_parameter(name).detach()
        pooled = structure.pool(torch.ones_like(weight))
        for unit in range(min(pooled.numel(), 8)):
            chosen = torch.zeros(pooled.numel(), dtype=torch.bool)
            chosen[unit] = True
            chosen = chosen.view(pooled.shape)
            mask = structure.expand(chosen, tuple(weight.shape))
            assert (mask.shape, mask.dtype) == (weight.shape, torch.bool)
            assert int(mask.sum()) == weight.numel() // pooled.numel()
            assert torch.equal(structure.pool(mask.float()) > 0, chosen)


@every("structure")
def test_a_removed_unit_sends_nothing_on(structure) -> None:
    """Checks that the outputs no longer depend on the inputs once all units of a layer are gone."""
    if structure.granularity == "weight":
        pytest.skip("single weights leave the bias and the norm of their layer")
    model = both().eval()
    for name in structure.units(model, IMAGES):
        whole = both().eval()
        for gone in (name, *structure.units(model, IMAGES)[name]):
            nn.init.zeros_(whole.get_parameter(gone))
        one, two = (
            whole(torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(s)))
            for s in (1, 2)
        )
        assert torch.equal(one, two)
