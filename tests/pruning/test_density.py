"""A density is of what the structure may prune after `exclude`: by the API, in sums, in words."""

from collections import OrderedDict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import every
from divisible_network import IMAGES, of_all_kinds
from torch import Tensor, nn

import harness
from harness.allocation.base import ModelInfo
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.api.request import FixedCounts
from harness.pruning.density import Scope, layers_of
from harness.pruning.prunable import exclude_layers
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron
from harness.structure.row import Row
from harness.vocabulary.tensors import prunable_weights

IMAGE = torch.zeros(1, 3, 8, 8)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 100)
    )


def cnn() -> nn.Module:
    """Filters of 27, 180 and 90 weights; a norm after the first; a classifier as large as them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 20, 3, bias=False), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 3),
        nn.ReLU(), nn.Conv2d(10, 30, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30 * 4, 200),
    )  # fmt: skip


class Embedded(nn.Module):
    """An embedding of 99 % of the parameters, which no structure prunes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10_000, 8)
        self.fc1, self.fc2 = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.embedding(ids)).relu())


def shares(masks: dict[str, Tensor]) -> dict[str, float]:
    """Returns the kept fraction of each weight's elements."""
    return {name: float(mask.float().mean()) for name, mask in masks.items() if mask.dim() > 1}


def test_a_unit_of_a_layer_without_counted_macs_costs_none_also_where_it_is_the_only_one() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 3))
    weights = prunable_weights(model)
    units, model_info = Element().divide(weights), ModelInfo(macs={"1.weight": 6})
    layers = layers_of(weights, model, units, model_info)
    assert [layer.macs_per_unit for layer in layers.values()] == [0, 2]


def test_on_the_way_to_asked_counts_a_layer_keeps_what_the_goal_leaves_it() -> None:
    layers = {"a": SimpleNamespace(alive=5), "b": SimpleNamespace(alive=3)}
    assert FixedCounts(counts={"a": 1}).distribute(layers, keep=6) == {"a": 3, "b": 3}


@pytest.mark.parametrize("exclude", [[], ["last"], ["first"], ["0", "4"]])
def test_half_of_every_layer_that_is_not_spared_is_kept(exclude) -> None:
    found = shares(harness.prune(mlp(), 0.5, allocation="uniform", exclude=exclude))
    assert found and set(found.values()) == {0.5}


@pytest.mark.parametrize("exclude", [[], ["0"], ["3", "5"]])
@pytest.mark.parametrize("structure", ["filter", "row"])
def test_half_of_the_filters_are_kept_whatever_they_cost(structure, exclude) -> None:
    how: dict[str, Any] = {"structure": structure, "example_input": IMAGE, "exclude": exclude}
    masks = harness.prune(cnn(), 0.5, allocation="uniform", **how)
    found = {n: float(m.flatten(1).any(1).float().mean()) for n, m in masks.items() if m.dim() > 1}
    whole = {f"{layer}.weight" for layer in ("7", "8", *exclude)}
    assert {n for n, share in found.items() if share != 0.5} <= whole
    assert 0.5 in found.values()


def test_one_dear_filter_does_not_move_the_cheap_layers() -> None:
    # Of 3 filters of 577 parameters 1.5 would stay, of 64 ones of 28 exactly 32 do.
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 3, 3), nn.Conv2d(3, 1, 3))
    masks = harness.prune(model, 0.5, structure="filter", allocation="uniform", example_input=IMAGE)
    assert int(masks["0.bias"].sum()) == 32
    assert int(masks["1.bias"].sum()) in (1, 2)


@pytest.mark.parametrize("density", [1.0, 0.3, 0.07])
@every("allocation")
def test_any_rule_shares_a_density_of_the_layers_that_are_not_spared(allocation, density) -> None:
    if allocation.needs_curves:
        return
    model = mlp()
    # A floor, because a layer that a rule leaves empty is warned of.
    floored = replace(allocation, min_units=1)
    masks = harness.prune(model, density, allocation=floored, exclude=["2"])
    assert sum(int(mask.sum()) for mask in masks.values()) == round(density * (4096 + 3200))
    assert list(masks) == ["0.weight", "4.weight"]
    assert bool((model[2].weight != 0).all())


def test_an_embedding_that_nothing_prunes_has_no_part_in_a_density() -> None:
    ids = torch.zeros(1, 2, dtype=torch.long)
    found = shares(harness.prune(Embedded(), 0.25, allocation="uniform", example_input=ids))
    assert found == {"fc1.weight": 0.25, "fc2.weight": 0.25}
    neurons = {"structure": "neuron", "example_input": ids}
    masks = harness.prune(Embedded(), 0.25, **neurons)
    assert {
        name: int(mask.flatten(1).any(1).sum()) for name, mask in masks.items() if mask.dim() > 1
    } == {"fc1.weight": 2, "fc2.weight": 4}


def test_a_tied_weight_counts_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    masks = harness.prune(model, 0.5, allocation="uniform", exclude=["2"])
    assert shares(masks) == {"0.weight": 0.5}


def test_units_are_ranked_to_the_density_of_what_they_own() -> None:
    model = cnn()
    how: dict[str, Any] = {"structure": Row(), "allocation": GlobalRanking(min_units=1)}
    pruned = harness.prune(model, 0.4, example_input=IMAGE, **how)
    # Weights, bias, and scale and shift of the norm: 27 + 2, 180 + 1, 90 + 1 parameters.
    owned = {"0.weight": (20, 29), "3.weight": (10, 181), "5.weight": (30, 91)}
    whole = sum(units * cost for units, cost in owned.values())
    left = sum(int(pruned[n].flatten(1).any(1).sum()) * cost for n, (_, cost) in owned.items())
    assert left == pytest.approx(0.4 * whole, abs=181 / 2)
    scope = Scope(Row(), Row().units(cnn(), IMAGE))
    assert scope.density(pruned) == scope.density(prunable_weights(model)) == left / whole


def test_a_density_by_hand() -> None:
    # 2 of 4 units of 5 parameters and 1 of 2 units of 6: four weights, scale and shift.
    layers = {"a": nn.Linear(4, 4), "b": nn.Linear(4, 2, bias=False), "norm": nn.BatchNorm1d(2)}
    model = nn.Sequential(OrderedDict(layers, head=nn.Linear(2, 1)))
    units = Neuron().units(model, torch.ones(2, 4))
    masks = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(2, 4)}
    masks["a.weight"][:2, 0] = 1.0  # a unit stays while any of its weights does
    assert Scope(Neuron(), units).density(masks) == 10 / 32
    masks["b.weight"][1, 3] = -2.0
    assert Scope(Neuron(), units).density(masks) == 16 / 32
    single = Element().divide(masks)
    assert Scope(Element(), single).density(masks) == 3 / 24


def test_a_density_says_what_it_is_of() -> None:
    every_unit = Filter().units(cnn(), IMAGE)
    left = exclude_layers(every_unit, ["0", "5"], None)
    describe = Scope(Filter(), left, every_unit).describe()
    assert describe == "filters by their parameters, without 0, 5"
    names = ("fc1.weight", "a.weight", "b.weight")
    units = Element().divide({name: torch.ones(2, 2) for name in names})
    assert Scope(Element(), units).describe() == "weights"
    outputs = frozenset(("a.weight", "b.weight"))
    assert Scope(Element(), units, {}, outputs).describe() == "weights, with output layer a, b"
    left = exclude_layers(units, ["fc1", "a"], None)
    describe = Scope(Element(), left, units, outputs).describe()
    assert describe == "weights, without fc1, a, with output layer b"


def test_a_floor_names_the_smallest_density_of_what_is_pruned() -> None:
    # 64 of 4,096 and 32 of 2,048; the classifier is spared.
    floors = Uniform(min_density=1 / 64)
    with pytest.raises(ValueError, match=r"of what is pruned is 0\.015625$"):
        harness.prune(mlp(), 0.01, allocation=floors, exclude=["last"])
    masks = harness.prune(mlp(), 0.015625, allocation=floors, exclude=["last"])
    assert sum(int(mask.sum()) for mask in masks.values()) == 96


def test_a_density_in_multiply_accumulates_is_of_what_may_go_too() -> None:
    # The spared classifier has 24,000 of them, the filters 36 x 540, 16 x 1,800 and 4 x 2,700.
    allocation = GlobalRanking(budget="macs", min_units=1)
    how: dict[str, Any] = {"structure": "filter", "example_input": IMAGE, "allocation": allocation}
    masks = harness.prune(cnn(), 0.5, **how)
    costs = {"0.weight": 36 * 27, "3.weight": 16 * 180, "5.weight": 4 * 90}
    left = sum(int(masks[n].flatten(1).any(1).sum()) * cost for n, cost in costs.items())
    assert left == pytest.approx(0.5 * (36 * 540 + 16 * 1800 + 4 * 2700), abs=16 * 180 / 2)


@every("structure")
def test_a_density_of_1_prunes_nothing(structure) -> None:
    masks = harness.prune(
        of_all_kinds(residual=True), 1.0, structure=structure, example_input=IMAGES
    )
    assert all(bool(mask.all()) for mask in masks.values())
