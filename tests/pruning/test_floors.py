"""Tests floors of layers under every rule, and budgets that count something else than units."""

import re
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from conftest import cases, component, every
from scored_layers import DEAD, alive, layers, random_layers

from harness.allocation.base import (
    Allocation,
    Layer,
    Layers,
    ModelInfo,
    Unreachable,
    smallest_density,
)
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.metrics.macs import count_macs
from harness.models.lenet_5 import LeNet5
from harness.pruning.budget import RequestedSize, SizeModel, cost, counts_for, size_of
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.magnitude import Magnitude
from harness.structure.base import Structure
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.vocabulary.defaults import with_defaults
from harness.vocabulary.tensors import Counts, local_mean


def with_floors(allocation: Allocation, **floors: Any) -> Allocation:
    return replace(allocation, **floors)


@every("allocation")
@pytest.mark.parametrize("seed", range(4))
def test_no_layer_falls_below_its_floor(allocation, seed) -> None:
    found = random_layers(seed)
    floored = with_floors(allocation, min_units=1, min_density=0.1)
    # At least 1, at least a tenth rounded up, at most what is alive.
    floors = {n: min(one.alive, max(1, -(-one.units // 10))) for n, one in found.items()}
    for keep in range(sum(floors.values()), alive(found) + 1):
        counts = floored.allocate(found, keep)
        assert list(counts) == list(found)
        assert sum(counts.values()) == keep
        assert all(floors[name] <= counts[name] <= found[name].alive for name in found)


@every("allocation")
@pytest.mark.parametrize("seed", range(4))
def test_floors_that_do_not_bind_change_nothing(allocation, seed) -> None:
    found = random_layers(seed)
    floored = with_floors(allocation, min_units=1)
    for keep in range(alive(found) + 1):
        counts = allocation.allocate(found, keep)
        if all(counts[name] >= min(1, layer.alive) for name, layer in found.items()):
            assert floored.allocate(found, keep) == counts


@every("allocation")
def test_what_the_refusal_calls_reachable_is_reachable(allocation) -> None:
    found = random_layers(1)
    floored = with_floors(allocation, min_units=3, min_density=0.17)
    least = sum(floored.floors(found).values())
    units = sum(layer.units for layer in found.values())
    with pytest.raises(Unreachable, match=f"cannot keep {least - 1} of {units} units") as refusal:
        floored.allocate(found, least - 1)
    density = float(re.findall(r"is ([\d.]+)$", str(refusal.value))[0])
    assert floored.allocate(found, round(density * units)) == floored.floors(found)


def test_the_others_share_by_the_same_rule_what_floors_leave() -> None:
    # Ranked: b 4, a 1, c 0; c's floor of 2 leaves 3 to the best of a and b.
    found = layers(a=[5.0, 1.0], b=[9.0, 8.0, 7.0, 6.0], c=[0.5, 0.4, 0.3])
    assert GlobalRanking(min_units=0).allocate(found, 5) == {"a": 1, "b": 4, "c": 0}
    assert GlobalRanking(min_density=0.34).allocate(found, 5) == {"a": 1, "b": 2, "c": 2}


def test_a_floor_may_bring_the_next_layer_to_its_own() -> None:
    # Uniform gives 2, 2, 6 of 10. The floor of a takes 4, so b would have 6 * 2 / 8 < 2.
    found = layers(a=[1.0] * 10, b=[1.0] * 8, c=[1.0] * 24)
    assert Uniform().allocate(found, 10) == {"a": 2, "b": 2, "c": 6}
    assert Uniform(min_units=4).allocate(found, 12) == {"a": 4, "b": 4, "c": 4}


def test_a_floor_is_rounded_up_from_the_decimal_that_was_written() -> None:
    # 0.07 * 100 is 7.000000000000001 in floating point.
    assert Uniform(min_density=0.07).floors(layers(a=[1.0] * 100, b=[1.0] * 101)) == {
        "a": 7,
        "b": 8,
    }


def test_a_floor_asks_no_more_than_is_alive() -> None:
    found = layers(a=[1.0, DEAD, DEAD, DEAD], b=[1.0] * 4)
    assert Uniform(min_units=3, min_density=1.0).floors(found) == {"a": 1, "b": 4}


@cases("least, whole", (1, 3), (2, 3), (123_457_891, 10**9), (7, 10**8))
def test_a_smallest_density_is_rounded_up(least, whole) -> None:
    density = float(smallest_density(least, whole))
    assert least <= density * whole <= least * (1 + 1e-5)


@cases(
    "floors, message",
    ({"min_units": -1}, "min_units must be a whole number >= 0, got -1"),
    ({"min_units": 1.0}, "min_units must be a whole number >= 0, got 1.0"),
    ({"min_density": 10}, r"min_density must be in \[0, 1\], got 10; is it a percentage"),
    ({"min_density": float("nan")}, r"min_density must be in \[0, 1\], got nan"),
    ({"min_density": True}, r"min_density must be in \[0, 1\], got True"),
    ({"budget": "flops"}, "budget must be params or macs, got 'flops'"),
)
@every("allocation")
def test_floors_out_of_range_are_refused(allocation, floors, message) -> None:
    with pytest.raises(ValueError, match=message):
        with_floors(allocation, **floors)


def test_a_layer_knows_whether_it_is_the_classifier() -> None:
    scores = torch.zeros(4)
    assert Layer((2, 2), "Linear", 2, 4, scores, 1, layer_count=4, last=True).is_classifier
    assert not Layer((2, 2), "Linear", 3, 4, scores, 1, layer_count=4).is_classifier
    assert not Layer(
        (2, 2, 1, 1), "Conv2d", 3, 4, scores, 1, layer_count=4, last=True
    ).is_classifier
    assert Layer((2, 2, 1), "OwnConvolution", 0, 4, scores, 1).is_convolution


def dear(found: Layers, *costs: int) -> Layers:
    """Returns the same layers, whose units cost so many multiply-accumulates each."""
    return {
        name: replace(layer, macs_per_unit=each)
        for (name, layer), each in zip(found.items(), costs, strict=True)
    }


@every("allocation")
@pytest.mark.parametrize("seed", range(3))
@cases("min_units", 0, 2)
def test_macs_come_as_near_as_any_number_of_units_does(allocation, seed, min_units) -> None:
    found = dear(random_layers(seed), 97, 31, 5, 2)
    floored = with_floors(allocation, min_units=min_units)
    least = sum(floored.floors(found).values())
    reachable = {
        size_of(found, floored.allocate(found, keep), "macs")
        for keep in range(least, alive(found) + 1)
    }
    for goal in range(min(reachable), max(reachable) + 50, 71):
        got = size_of(found, counts_for(floored, found, RequestedSize(goal, "macs")), "macs")
        assert abs(got - goal) == min(abs(other - goal) for other in reachable)


class Wavering(Uniform):
    """One unit more moves the dear layer's last unit away: the Alabama paradox at its worst."""

    def distribute(self, layers: Layers, keep: int) -> Counts:
        dear = 2 if keep in (3, 5) else 3 if keep > 5 else min(keep, 1)
        return {"a": dear, "b": keep - dear}


def test_a_rule_that_wavers_is_searched_around_the_crossing() -> None:
    found = dear(layers(a=[1.0] * 3, b=[1.0] * 9), 10, 1)
    # keep 0 to 8 hold 0, 10, 11, 21, 13, 23, 33, ...: bisection alone ends at 11 and 21 or beside.
    got = counts_for(Wavering(), found, RequestedSize(14, "macs"))
    assert size_of(found, got, "macs") == 13


def test_of_equally_near_macs_the_smaller_are_taken() -> None:
    found = dear(layers(a=[9.0], b=[8.0, 7.0]), 4, 2)
    assert counts_for(GlobalRanking(), found, RequestedSize(5, "macs")) == {"a": 1, "b": 0}
    assert counts_for(GlobalRanking(), found, RequestedSize(7, "macs")) == {"a": 1, "b": 1}


def test_macs_that_floors_hold_are_named_in_macs() -> None:
    found = dear(layers(a=[9.0] * 3, b=[8.0, 7.0]), 4, 2)
    # The floors hold 4 + 2 of 16.
    with pytest.raises(Unreachable, match=r"keep 5 of 16 macs: .* hold 6; .* is 0.375$"):
        counts_for(GlobalRanking(min_units=1), found, RequestedSize(5, "macs"))
    assert counts_for(GlobalRanking(min_units=1), found, RequestedSize(6, "macs")) == {
        "a": 1,
        "b": 1,
    }


def test_a_budget_of_macs_without_any_is_refused() -> None:
    found = layers(a=[1.0], b=[1.0])
    with pytest.raises(ValueError, match="prunable layers have no macs"):
        counts_for(Uniform(), found, RequestedSize(1, "macs"))
    with pytest.raises(ValueError, match="prunable layers have no macs"):
        SizeModel("density", 0, 0, "macs").to_kept_fraction(0.5)


class Own:
    """Allocates without floors, as an allocation of a user's own."""

    budget: ClassVar[str] = "macs"

    def allocate(self, layers: Layers, keep: int) -> Counts:
        return Uniform().allocate(layers, keep)


def test_an_own_allocation_needs_no_more_than_allocate() -> None:
    found = dear(layers(a=[9.0] * 3, b=[8.0, 7.0]), 4, 2)
    own: Any = with_defaults(Allocation, Own())
    assert counts_for(own, found, RequestedSize(8, "macs")) == {"a": 1, "b": 1}


def lenet_5(structure: Structure) -> tuple[SizeModel, Layers]:
    """Returns the size model of LeNet-5's MACs, and its layers as an allocation sees them."""
    seen: Layers = {}

    class Watching(Uniform):
        def allocate(self, layers: Layers, keep: int) -> Counts:
            seen.update(layers)
            return super().allocate(layers, keep)

    torch.manual_seed(0)
    model = LeNet5().build((1, 28, 28), 10)
    units = structure.units(model, torch.zeros(2, 1, 28, 28))
    curves = dict.fromkeys(units, ((1.0, 0.1), (0.5, 0.2), (0.05, 0.9)))
    model_info = ModelInfo(count_macs(model, torch.zeros(1, 1, 28, 28)).weights, curves=curves)
    pruner = Pruner(Magnitude(), structure, Watching(budget="macs"))
    store = MaskStore({name: model.get_parameter(name) for name in units})
    data = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)
    pruner.propose(model, store, units, RequestedSize(1000, "macs"), data, model_info)
    return pruner.size_model("compression", model, units, model_info), seen


@every("allocation")
@cases("structure", Element(), Filter(), ids=["element", "filter"])
@cases("share", 0.5, 0.1)
def test_lenet_5_keeps_the_macs_that_are_asked(allocation, structure, share) -> None:
    size_model, found = lenet_5(structure)
    # conv1 500 weights x 24 x 24, conv2 25,000 x 8 x 8, fc1 400,000, fc2 5,000.
    assert size_model.total == 288_000 + 1_600_000 + 400_000 + 5_000
    goal = RequestedSize(round(share * size_model.removable), size_model.counts)

    counts = counts_for(replace(allocation, budget="macs"), found, goal)

    off = abs(size_of(found, counts, "macs") - goal.keep)
    assert off <= max(cost(layer, "macs") for layer in found.values()) / 2
    keep = sum(counts.values())
    for other in (keep - 2, keep - 1, keep + 1, keep + 2):
        assert abs(size_of(found, allocation.allocate(found, other), "macs") - goal.keep) >= off


def test_a_budget_of_macs_is_a_field_of_every_allocation() -> None:
    assert component("allocation", "uniform", budget="macs").budget == "macs"
