"""Tests budgets that count multiply-accumulates, under every rule."""

from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from conftest import cases, component, every
from scored_layers import alive, layers, random_layers, with_floors

from harness.allocation.base import (
    Allocation,
    Layers,
    ModelInfo,
    Unreachable,
)
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.metrics.macs import count_macs
from harness.models.lenet_5 import LeNet5
from harness.pruning.budget import RequestedSize, SizeModel, counts_for
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.pruning.sizes import Size, size_function, size_of
from harness.saliency.magnitude import Magnitude
from harness.structure.base import Structure
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.vocabulary.defaults import with_defaults
from harness.vocabulary.tensors import Counts, local_mean


def dear(found: Layers, *costs: int) -> Layers:
    """Returns the same layers, whose units cost so many multiply-accumulates each."""
    return {
        name: replace(layer, macs_per_unit=each)
        for (name, layer), each in zip(found.items(), costs, strict=True)
    }


@every("allocation")
@pytest.mark.parametrize("seed", range(3))
@cases("min_units", 0, 2)
def test_macs_come_as_near_as_any_proposal_does(allocation, seed, min_units) -> None:
    found = dear(random_layers(seed), 97, 31, 5, 2)
    floored = with_floors(allocation, min_units=min_units)
    proposals = floored.proposals(found, lambda kept: size_of(found, kept, "macs"))
    reachable = {
        size_of(found, proposals.at(number), "macs")
        for number in range(proposals.least, proposals.most + 1)
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


def lenet_5(structure: Structure) -> tuple[SizeModel, Layers, Size]:
    """Returns LeNet-5's size model of MACs, its layers as an allocation sees them, and sizes."""
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
    size_model = pruner.size_model("compression", model, units, model_info)
    size = size_function(size_model.counts, seen, model, units, model_info)
    return size_model, seen, size


@every("allocation")
@cases("structure", Element(), Filter(), ids=["element", "filter"])
@cases("share", 0.5, 0.1)
def test_lenet_5_keeps_the_macs_that_are_asked(allocation, structure, share) -> None:
    size_model, found, size = lenet_5(structure)
    # conv1 500 weights x 24 x 24, conv2 25,000 x 8 x 8, fc1 400,000, fc2 5,000.
    assert size_model.total == 288_000 + 1_600_000 + 400_000 + 5_000
    goal = RequestedSize(round(share * size_model.removable), size_model.counts)

    counts = counts_for(replace(allocation, budget="macs"), found, goal, size)

    off, keep = abs(size(counts) - goal.keep), sum(counts.values())
    proposals = allocation.proposals(found, size)
    by_units = proposals.most == alive(found)
    numbers = range(keep - 2, keep + 3) if by_units else range(proposals.most + 1)
    near = [size(proposals.at(number)) for number in numbers]
    assert off <= max(abs(one - other) for one, other in pairwise(near)) / 2
    # Of a knapsack's budgets, whose sizes cross the goal more than once, one crossing is found.
    assert not by_units or all(abs(other - goal.keep) >= off for other in near)


def test_a_budget_of_macs_is_a_field_of_every_allocation() -> None:
    assert component("allocation", "uniform", budget="macs").budget == "macs"
