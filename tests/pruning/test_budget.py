"""Tests what a target counts: fractions of a model that stays in part, and the nearest count."""

import pytest
import torch

from harness.allocation.base import Layer, Layers
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.models.mlp import Mlp
from harness.pruning.budget import RequestedSize, SizeModel, counts_for
from harness.pruning.pruner import Pruner
from harness.saliency.fpgm import FPGM
from harness.saliency.magnitude import Magnitude
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Counts


def layer(units: int, cost: int, best: float) -> Layer:
    scores = best - torch.arange(units) / 10
    return Layer((units, cost), "Linear", 0, units, scores, cost + 1)


@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()])
def test_neurons_of_unequal_cost_reach_the_nearest_number_there_is(allocation) -> None:
    layers = {"a": layer(5, 3, best=1.01), "b": layer(4, 5, best=1.22), "c": layer(6, 4, best=1.33)}
    cost = {"a": 3 + 1, "b": 5 + 1, "c": 4 + 1}

    def held(counts: Counts) -> int:
        return sum(count * cost[name] for name, count in counts.items())

    reachable = [held(allocation.allocate(layers, keep)) for keep in range(5 + 4 + 6 + 1)]
    for goal in range(reachable[-1] + 1):
        got = held(counts_for(allocation, layers, RequestedSize(goal, "parameters")))
        assert abs(got - goal) == min(abs(other - goal) for other in reachable)


def test_of_two_equally_near_numbers_the_smaller_is_taken() -> None:
    layers: Layers = {"a": layer(1, 3, best=2.0), "b": layer(3, 1, best=1.0)}
    allocation = GlobalRanking()
    # a holds 4, a and one of b 6, a and two of b 8.
    assert counts_for(allocation, layers, RequestedSize(5, "parameters")) == {"a": 1, "b": 0}
    assert counts_for(allocation, layers, RequestedSize(6, "parameters")) == {"a": 1, "b": 1}
    assert counts_for(allocation, layers, RequestedSize(7, "parameters")) == {"a": 1, "b": 1}


def account_of(pruner: Pruner, unit: str) -> SizeModel:
    model = Mlp(hidden=[5, 4]).build((3,), 2)
    return pruner.size_model(unit, model, pruner.structure.units(model, torch.zeros(2, 3)))


def test_a_density_is_of_what_may_go_and_a_compression_of_the_whole_model() -> None:
    pruner = Pruner(Magnitude(), Neuron(), GlobalRanking())
    # fc1 5 x 3, fc2 4 x 5, fc3 2 x 4, and their biases; fc3 makes the outputs.
    assert account_of(pruner, "density") == SizeModel("density", 44, 44, "parameters")
    # The columns of fc3 go too, and its 2 biases are all that stays.
    left = SizeModel("compression", 54, 52, "parameters left")
    assert account_of(pruner, "compression") == left
    # Where all layers keep the same share, a density is a number of units.
    uniform = Pruner(Magnitude(), Neuron(), Uniform())
    assert account_of(uniform, "density") == SizeModel("density", 9, 9, "units")
    assert account_of(uniform, "compression") == left


def test_half_of_the_units_is_less_than_half_of_the_network() -> None:
    size_model = account_of(Pruner(Magnitude(), Neuron(), GlobalRanking()), "compression")
    assert size_model.size_at is not None
    # 2 of 5 and 2 of 4 units: 2 x 3 + 2, 2 x 2 + 2 and 2 x 2 + 2 parameters, without the last 2.
    assert size_model.size_at(0.5) == 8 + 6 + 4
    density = account_of(Pruner(Magnitude(), Neuron(), GlobalRanking()), "density")
    assert size_model.converted(18 / 52, density) == pytest.approx(0.5, abs=0.05)
    # 2 of 5 rows of 4 parameters and 2 of 4 of 6 are left in that network.
    assert density.converted(20 / 44, size_model) == 18 / 52


def test_a_budget_of_single_weights_leaves_biases_out() -> None:
    pruner = Pruner(Magnitude(), Element(), GlobalRanking())
    assert account_of(pruner, "density") == SizeModel("density", 43, 43, "parameters")
    assert account_of(pruner, "compression") == SizeModel("compression", 54, 43, "parameters")


def test_a_saliency_of_units_has_the_budget_of_its_structure() -> None:
    for unit in ("density", "compression"):
        own, other = (
            account_of(Pruner(saliency, Neuron(), Uniform()), unit)
            for saliency in (FPGM(), Magnitude())
        )
        assert own == other


def test_a_density_is_its_own_share() -> None:
    size_model = SizeModel("density", 43, 43, "parameters")
    assert size_model.to_kept_fraction(0.1) == size_model.from_kept_fraction(0.1) == 0.1


def test_shares_by_hand() -> None:
    # Of 100 parameters 80 may go: a quarter of the model is 5 of the 80.
    assert SizeModel("compression", 100, 80, "parameters").to_kept_fraction(4.0) == 5 / 80
    assert SizeModel("compression", 100, 80, "parameters").from_kept_fraction(0.0) == 5.0
    assert SizeModel("compression", 100, 100, "parameters").from_kept_fraction(0.0) == float("inf")


@pytest.mark.parametrize("unit", ["density", "compression"])
@pytest.mark.parametrize("removable", [1, 17, 50, 99, 100])
def test_what_is_asked_comes_back_from_its_share(unit, removable) -> None:
    size_model = SizeModel(unit, 100, removable, "parameters")
    for share in (0.0, 0.01, 1 / 3, 0.5, 0.99, 1.0):
        asked = size_model.from_kept_fraction(share)
        if asked < float("inf"):
            # The limit itself may be a rounding error out of reach.
            inside = asked * (1 + 1e-12) if unit == "density" else asked * (1 - 1e-12)
            assert size_model.to_kept_fraction(inside) == pytest.approx(share, abs=1e-9)
    assert size_model.to_kept_fraction(1.0) == 1.0


def test_an_unreachable_compression_is_refused_with_its_limit() -> None:
    with pytest.raises(ValueError, match=r"compression 6 .* 20 of 100 are never .*at most 5$"):
        SizeModel("compression", 100, 80, "parameters").to_kept_fraction(6)
