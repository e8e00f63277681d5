import pytest
import torch
from torch import nn

from harness.allocation.global_ranking import GlobalRanking
from harness.budget import Goal
from harness.control import CONTROLS, controlled
from harness.prunable import store_for
from harness.pruning import Calibration, Pruner
from harness.saliency.random import Random
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.tensors import Tensors, mean_alone

NO_DATA = Calibration([], lambda outputs, labels: outputs.sum(), mean_alone)
KEPT = {"a": torch.tensor([True, False, True, False, False]), "b": torch.tensor([False, True])}
ALIVE = {"a": torch.tensor([True, True, True, False, True]), "b": torch.tensor([True, True])}
SIZES = {"a": torch.tensor([1.0, 4.0, 3.0, 9.0, 2.0]), "b": torch.tensor([5.0, 6.0])}


def masks_of(control: str, structure: Element | Neuron, seed: int = 0) -> Tensors:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 8), nn.Linear(8, 3))
    units = structure.units(model, torch.zeros(2, 20))
    pruner = Pruner(Random(5), structure, GlobalRanking(), control, seed)
    return pruner.decide(model, store_for(model, units), units, Goal(90, "weights"), NO_DATA).masks


def test_magnitude_keeps_the_largest_alive_of_each_tensor() -> None:
    found = controlled("magnitude", KEPT, ALIVE, SIZES, seed=0)
    assert found["a"].tolist() == [False, True, True, False, False]  # 9 is dead
    assert found["b"].tolist() == [False, True]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("structure", [Element(), Neuron()])
def test_a_control_keeps_as_many_of_each_tensor(control: str, structure: Element | Neuron) -> None:
    own, other = masks_of("none", structure), masks_of(control, structure)
    assert {n: int(m.sum()) for n, m in other.items()} == {n: int(m.sum()) for n, m in own.items()}
    same = all(torch.equal(own[name], other[name]) for name in own)
    assert same == (control in ("none", "reinitialised"))


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_draws_follow_from_the_seed_and_never_revive(control: str) -> None:
    one, again = (controlled(control, KEPT, ALIVE, SIZES, seed=1) for _ in range(2))
    others = [controlled(control, KEPT, ALIVE, SIZES, seed=seed) for seed in range(40)]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert {tuple(found["a"].tolist()) for found in others} == {
        # Every pair of the four alive comes up.
        tuple(place in pair for place in range(5))
        for pair in ((0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 4))
    }


def test_a_shuffled_filter_or_row_takes_its_bias_along() -> None:
    masks = masks_of("shuffled", Neuron())
    assert torch.equal(masks["0.weight"].any(dim=1), masks["0.bias"])


def test_controls_leave_weights_that_a_method_would_move() -> None:
    class Moving(Random):
        def compensate(self, weights: Tensors, masks: Tensors, evidence: Tensors) -> Tensors:
            return {name: weight + 1 for name, weight in weights.items()}

    model = nn.Sequential(nn.Linear(2, 2))
    units = Element().units(model, torch.zeros(2, 2))
    for control, moves in (("none", True), ("random", False), ("reinitialised", False)):
        pruner = Pruner(Moving(0), Element(), GlobalRanking(), control)
        store = store_for(model, units)
        decision = pruner.decide(model, store, units, Goal(2, "weights"), NO_DATA)
        assert bool(decision.moved(decision.masks)) == moves


def test_an_unknown_control_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="control must be one of none, random.*got 'shuffle'"):
        Pruner(Random(0), Element(), GlobalRanking(), "shuffle")
