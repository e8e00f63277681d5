"""Targets as theoretical speed-up, searched over the multiply-accumulates of a real LeNet-5."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import nn

from harness.allocation.base import Allocation, ModelInfo, Unreachable
from harness.allocation.erk import Erk
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.groups.units import Units
from harness.metrics.macs import count_macs, macs
from harness.models.lenet_5 import LeNet5
from harness.pruning.budget import RequestedSize, SizeModel
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.pruning.sizes import count_unit
from harness.saliency.magnitude import Magnitude
from harness.structure.base import Structure
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.row import Row
from harness.vocabulary.tensors import local_mean, prunable_weights

SHAPE = (1, 28, 28)
# conv1 500 weights x 24 x 24, conv2 25,000 x 8 x 8, fc1 400,000, fc2 5,000.
TOTAL = 288_000 + 1_600_000 + 400_000 + 5_000
COSTS = {"conv1.weight": 576, "conv2.weight": 64, "fc1.weight": 1, "fc2.weight": 1}
NO_DATA = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)
STRUCTURES = [Element(), Filter(), Row()]
ALLOCATIONS = [GlobalRanking(), Uniform(), Erk()]


class Case(NamedTuple):
    """A LeNet-5 and all that prunes it; in float64, where no two magnitudes are equal."""

    pruner: Pruner
    model: nn.Module
    units: Units
    model_info: ModelInfo

    @property
    def size_model(self) -> SizeModel:
        return self.pruner.size_model("speedup", self.model, self.units, self.model_info)

    def goal(self, speedup: float) -> RequestedSize:
        size_model = self.size_model
        goal = RequestedSize(
            round(size_model.to_kept_fraction(speedup) * size_model.removable), size_model.counts
        )
        self.pruner.check(goal, self.model, self.units, self.model_info)
        return goal

    def pruned(self, goal: RequestedSize) -> MaskStore:
        """Returns the masks of the goal; the model stays unchanged."""
        names = {name for each in self.units.values() for name in each.masked}
        store = MaskStore({name: self.model.get_parameter(name) for name in names})
        decision = self.pruner.propose(
            self.model, store, self.units, goal, NO_DATA, self.model_info
        )
        store.shrink_to(decision.masks)
        return store

    def left(self, goal: RequestedSize) -> int:
        """Returns the size that the masks of the goal leave, counted by hand."""
        masks = self.pruned(goal).masks
        gone = sum(cost * int((~masks[n]).sum()) for n, cost in COSTS.items() if n in masks)
        return TOTAL - gone


def case(structure: Structure, allocation: Allocation) -> Case:
    torch.manual_seed(0)
    model = LeNet5().build(SHAPE, 10).double()
    units = structure.units(model, torch.zeros(2, *SHAPE, dtype=torch.float64))
    model_info = ModelInfo(count_macs(model, torch.zeros(1, *SHAPE, dtype=torch.float64)).weights)
    return Case(Pruner(Magnitude(), structure, allocation), model, units, model_info)


def named(one: object) -> str:
    return type(one).__name__


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=named)
@pytest.mark.parametrize("structure", STRUCTURES, ids=named)
def test_the_network_has_the_macs_of_its_masks(structure, allocation) -> None:
    which = case(structure, allocation)
    goal = which.goal(3)
    which.pruned(goal).apply_to(which.model)
    assert macs(which.model, SHAPE) == which.left(goal)
    # The dearest unit is a filter of conv2: 500 weights x 64.
    assert macs(which.model, SHAPE) == pytest.approx(TOTAL / 3, abs=32_000 / 2)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=named)
@pytest.mark.parametrize("structure", [Filter(), Row()], ids=named)
def test_no_number_of_units_comes_nearer_to_the_speed_up(structure, allocation) -> None:
    which = case(structure, allocation)
    units = sum(which.model.get_parameter(name).shape[0] for name in which.units)
    left = cache(lambda keep: which.left(RequestedSize(keep, "units")))
    apart = list(map(left, range(0, units + 1, 10)))
    assert apart == sorted(apart)  # so that none far from the goal's comes nearer
    for speedup in (1, 1.5, 2, 4):
        goal = which.goal(speedup)
        masks = which.pruned(goal).masks
        kept = sum(int(masks[name].flatten(1).any(1).sum()) for name in which.units)
        near = map(left, range(max(kept - 10, 0), min(kept + 10, units) + 1))
        # The goal itself is rounded to a whole number.
        off = min(abs(other - TOTAL / speedup) for other in near) + 1
        assert abs(which.left(goal) - TOTAL / speedup) <= off


def test_of_single_weights_ranked_globally_none_more_or_less_comes_nearer() -> None:
    which = case(Element(), GlobalRanking())
    weights = prunable_weights(which.model)
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    costs = torch.cat([torch.full((w.numel(),), COSTS[name]) for name, w in weights.items()])
    reachable = costs[sizes.argsort(descending=True)].cumsum(0)
    for speedup in (1, 2, 7.3, 1000):
        off = int((reachable - round(TOTAL / speedup)).abs().min())
        assert abs(which.left(which.goal(speedup)) - round(TOTAL / speedup)) == off


@pytest.mark.parametrize("allocation", [Uniform(), Erk()], ids=named)
def test_of_single_weights_shared_by_a_rule_none_more_or_less_comes_nearer(allocation) -> None:
    which = case(Element(), allocation)
    goal = which.goal(50)
    kept = sum(int(mask.sum()) for mask in which.pruned(goal).masks.values())
    off = abs(which.left(goal) - goal.keep)
    for other in range(kept - 30, kept + 31):
        assert abs(which.left(RequestedSize(other, "units")) - goal.keep) >= off


def test_a_speed_up_out_of_reach_is_refused_with_the_largest_one() -> None:
    # fc1 and fc2 are no filters, but without filters fc1 has no columns: fc2's 5,000 stay.
    which = case(Filter(), GlobalRanking())
    with pytest.raises(ValueError) as caught:
        which.goal(500)
    assert str(caught.value) == (
        f"speedup 500 cannot be reached: 5000 of {TOTAL} are never removed by this structure; "
        "ask for at most 458.6"
    )
    assert which.left(which.goal(458.6)) == 5_000
    # Rounded up to six digits it is the limit too.
    assert which.left(which.goal(458.6 + 1e-5)) == 5_000


@pytest.mark.parametrize("structure", STRUCTURES, ids=named)
@pytest.mark.parametrize("min_units", [1, 3, 7])
def test_the_largest_speed_up_that_floors_allow_is_accepted(structure, min_units) -> None:
    which = case(structure, GlobalRanking(min_units=min_units))
    with pytest.raises(Unreachable, match="macs( left)?: the floors of min_units") as refusal:
        which.goal(float(which.size_model.limit(0.0)))
    size_model, share = which.size_model, refusal.value.density
    least = size_model.total - size_model.removable + round(share * size_model.removable)
    assert which.left(which.goal(float(size_model.limit(share)))) == least


def test_a_speed_up_of_1_prunes_nothing() -> None:
    which = case(Element(), GlobalRanking())
    assert which.goal(1) == RequestedSize(TOTAL, "macs")


def test_a_speed_up_counts_macs_under_any_budget() -> None:
    assert [count_unit("speedup", budget) for budget in ("params", "macs")] == ["macs", "macs"]


def test_another_budget_than_the_allocations_may_be_asked_for() -> None:
    which = case(Filter(), Uniform())
    other = case(Filter(), Uniform(budget="macs"))
    for unit in ("density", "compression"):
        counts = [
            of.pruner.size_model(unit, of.model, of.units, of.model_info, budget)
            for of, budget in ((which, "macs"), (other, None), (other, "params"), (which, None))
        ]
        expected = {
            "density": SizeModel(unit, TOTAL - 405_000, TOTAL - 405_000, "macs"),
            "compression": SizeModel(unit, TOTAL, TOTAL - 5_000, "macs left"),
        }
        assert counts[0] == counts[1] == expected[unit]
        assert counts[2] == counts[3]
        assert counts[3].counts == {"density": "units", "compression": "parameters left"}[unit]


def test_shares_by_hand() -> None:
    # Of 100 multiply-accumulates 80 may go: a quarter of the model is 5 of the 80.
    size_model = SizeModel("speedup", 100, 80, "macs")
    assert size_model.to_kept_fraction(4.0) == 5 / 80
    assert size_model.from_kept_fraction(5 / 80) == 4.0
    assert size_model.from_kept_fraction(0.0) == 5.0
    assert SizeModel("speedup", 100, 100, "macs").from_kept_fraction(0.0) == float("inf")


def test_a_limit_is_rounded_to_the_side_that_can_be_reached() -> None:
    assert SizeModel("speedup", 5, 2, "macs").limit(0.0) == "1.66666"
    assert SizeModel("compression", 5, 2, "parameters").limit(0.0) == "1.66666"
    assert SizeModel("density", 3, 3, "parameters").limit(1 / 3) == "0.333334"
    # 0.1 + 0.2 and the like are no reason to round up.
    assert SizeModel("density", 10, 10, "parameters").limit(0.1 + 0.2) == "0.3"


def test_a_speed_up_of_a_model_whose_macs_are_unknown_is_refused() -> None:
    which = case(Element(), Uniform())
    with pytest.raises(ValueError, match="prunable layers have no macs"):
        which.pruner.size_model("speedup", which.model, which.units).to_kept_fraction(2)
