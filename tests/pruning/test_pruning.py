"""Decided masks: how many units stay and which, what goes along, and what is refused."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from harness.allocation.base import Layers
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.manual import Manual
from harness.allocation.uniform import Uniform
from harness.models.mlp import Mlp
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.pruning.sizes import count_unit
from harness.saliency.base import CalibrationData
from harness.saliency.bn_scale import BNScale
from harness.saliency.magnitude import Magnitude
from harness.saliency.random import Random
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Batch, Tensors, local_mean

SAMPLE = torch.zeros(2, 3)
NO_DATA = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)


@dataclass(frozen=True)
class Given:
    """Scores by name; the weight itself where none are given."""

    scores: dict[str, list[list[float]]]
    granularity: ClassVar[str] = "weight"

    def statistics(self, data: CalibrationData) -> Tensors:
        return {}

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {
            n: torch.tensor(self.scores[n]) if n in self.scores else w for n, w in weights.items()
        }


class PerUnit(Given):
    granularity: ClassVar[str] = "unit"


def network(*hidden: int, batch_norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Mlp(hidden=list(hidden), batch_norm=batch_norm).build((3,), 2)


def prune(pruner: Pruner, model: nn.Module, store: MaskStore, keep: int, unit: str) -> None:
    units = pruner.structure.units(model, SAMPLE)
    goal = RequestedSize(keep, count_unit(unit, "params"))
    store.shrink_to(pruner.propose(model, store, units, goal, NO_DATA).masks)
    store.apply_to(model)


def kept(store: MaskStore) -> int:
    return sum(int(mask.sum()) for mask in store.masks.values())


@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()])
@pytest.mark.parametrize("unit", ["density", "compression"])
@pytest.mark.parametrize("keep", [0, 1, 7, 22, 23, 24])
def test_single_weights_are_kept_exactly_as_many_as_asked(allocation, unit, keep) -> None:
    model = network(4, 2)
    pruner = Pruner(Magnitude(), Element(), allocation)
    store = make_mask_store(model, pruner.structure.units(model, SAMPLE))
    prune(pruner, model, store, keep, unit)
    assert kept(store) == keep


def test_the_smallest_weights_of_the_network_go() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[5.0, -1.0], [2.0, 0.5]]))
        model[1].weight.copy_(torch.tensor([[-4.0, 0.1]]))
    pruner = Pruner(Magnitude(), Element(), GlobalRanking())
    units = pruner.structure.units(model, torch.zeros(2, 2))
    store = make_mask_store(model, units)
    masks = pruner.propose(model, store, units, RequestedSize(3, "parameters"), NO_DATA).masks
    assert masks["0.weight"].tolist() == [[True, False], [True, False]]
    assert masks["1.weight"].tolist() == [[True, False]]


def test_deciding_masks_changes_neither_model_nor_masks() -> None:
    model = network(4)
    pruner = Pruner(Magnitude(), Element(), GlobalRanking())
    units = pruner.structure.units(model, SAMPLE)
    store = make_mask_store(model, units)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pruner.propose(model, store, units, RequestedSize(3, "parameters"), NO_DATA)
    assert kept(store) == 20
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()])
@pytest.mark.parametrize("structure", [Element(), Neuron("sum")])
def test_pruning_again_and_again_never_revives_a_unit(allocation, structure) -> None:
    model = network(9, 8, batch_norm=True)
    units = structure.units(model, SAMPLE)
    store = make_mask_store(model, units)
    total = sum(model.get_parameter(name).numel() for name in units)
    before = {name: mask.clone() for name, mask in store.masks.items()}
    for level, keep in enumerate((total, total * 3 // 4, total // 2, total // 5, 0)):
        # Another seed at every level: nothing but the masks remembers what is pruned.
        prune(Pruner(Random(level), structure, allocation), model, store, keep, "density")
        assert all((before[name] | ~mask).all() for name, mask in store.masks.items())
        before = {name: mask.clone() for name, mask in store.masks.items()}
    assert kept(store) == 0


def test_dead_units_are_not_counted_when_the_living_ones_score_below_zero() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    units = Element().units(model, torch.zeros(2, 2))
    store = make_mask_store(model, units)
    store.shrink_to({"0.weight": torch.tensor([[False, True], [True, True]])})
    saliency = Given({"0.weight": [[9.0, -3.0], [-1.0, -2.0]]})
    pruner = Pruner(saliency, Element(), GlobalRanking())
    masks = pruner.propose(model, store, units, RequestedSize(2, "parameters"), NO_DATA).masks
    assert masks["0.weight"].tolist() == [[False, False], [True, True]]


def test_a_goal_above_what_is_alive_keeps_all_that_is() -> None:
    model = network(4)
    pruner = Pruner(Magnitude(), Element(), GlobalRanking())
    store = make_mask_store(model, pruner.structure.units(model, SAMPLE))
    prune(pruner, model, store, 5, "density")
    prune(pruner, model, store, 11, "density")
    assert kept(store) == 5


def test_a_removed_neuron_takes_bias_norm_and_its_columns_with_it() -> None:
    model = network(3, batch_norm=True)
    saliency = Given({"fc1.weight": [[1.0] * 3, [3.0] * 3, [2.0] * 3]})
    pruner = Pruner(saliency, Neuron(), GlobalRanking())
    store = make_mask_store(model, pruner.structure.units(model, SAMPLE))
    prune(pruner, model, store, 6, "density")
    for name in ("fc1.bias", "bn1.weight", "bn1.bias"):
        assert store.masks[name].tolist() == [False, True, False]
    assert store.masks["fc1.weight"].tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert store.masks["fc2.weight"].tolist() == [[False, True, False]] * 2


def test_unit_scores_and_single_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="PerUnit scores whole units, but structure Element"):
        Pruner(PerUnit({}), Element(), Uniform())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_refused_with_its_tensor(bad) -> None:
    model = network(2)
    saliency = Given({"fc2.weight": [[1.0, bad], [1.0, 1.0]]})
    pruner = Pruner(saliency, Element(), GlobalRanking())
    units = pruner.structure.units(model, SAMPLE)
    with pytest.raises(ValueError, match="Given gave fc2.weight scores that are not finite"):
        pruner.propose(
            model, make_mask_store(model, units), units, RequestedSize(2, "parameters"), NO_DATA
        )


def test_an_allocation_sees_each_layer_as_it_is() -> None:
    seen: Layers = {}

    class Watching(Uniform):
        def allocate(self, layers: Layers, keep: int) -> dict[str, int]:
            seen.update(layers)
            return super().allocate(layers, keep)

    model = network(4, 3)
    pruner = Pruner(Magnitude(), Neuron(), Watching())
    units = pruner.structure.units(model, SAMPLE)
    store = make_mask_store(model, units)
    left = torch.tensor([True, False, True])
    store.shrink_to({"fc2.weight": left[:, None].expand(3, 4), "fc2.bias": left})
    pruner.propose(model, store, units, RequestedSize(12, "parameters"), NO_DATA)

    assert list(seen) == ["fc1.weight", "fc2.weight"]
    second = seen["fc2.weight"]
    assert (second.shape, second.kind, second.position) == ((3, 4), "Linear", 1)
    assert (second.alive, second.units) == (2, 3)
    assert second.parameters_per_unit == 5
    assert second.scores.isinf().tolist() == [False, True, False]


def test_a_saliency_is_given_the_calibration_data() -> None:
    seen = []

    @dataclass(frozen=True)
    class Looking(Magnitude):
        def statistics(self, data: CalibrationData) -> Tensors:
            seen.append((data.batches, data.loss, data.mean))
            return {}

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.sum()

    model = network(2)
    batches: list[Batch] = []
    pruner = replace(Pruner(Magnitude(), Element(), Uniform()), saliency=Looking())
    units = pruner.structure.units(model, SAMPLE)
    store = make_mask_store(model, units)
    pruner.propose(
        model, store, units, RequestedSize(2, "parameters"), Calibration(batches, loss, local_mean)
    )
    assert seen == [(batches, loss, local_mean)]


def test_what_a_saliency_cannot_score_is_refused_before_any_training() -> None:
    model = network(5)
    units = Neuron().units(model, SAMPLE)
    with pytest.raises(ValueError, match="needs a BatchNorm with a scale that fc1 alone feeds"):
        Pruner(BNScale(), Neuron(), Uniform()).check(RequestedSize(3, "parameters"), model, units)


def test_a_goal_that_floors_forbid_is_refused_before_any_training() -> None:
    model = network(5)
    units = Element().units(model, SAMPLE)
    pruner = Pruner(Magnitude(), Element(), Uniform(min_density=0.4))
    # 15 weights in fc1 and 10 in fc2: 6 and 4 stay.
    pruner.check(RequestedSize(10, "parameters"), model, units)
    with pytest.raises(ValueError, match=r"cannot keep 9 of 25 .* hold 10; .* pruned is 0\.4"):
        pruner.check(RequestedSize(9, "parameters"), model, units)


def test_an_allocation_that_cannot_meet_the_goal_is_refused_before_any_training() -> None:
    model = network(5)
    units = Element().units(model, SAMPLE)
    pruner = Pruner(Magnitude(), Element(), Manual(densities={"fc9": 0.5}))
    with pytest.raises(ValueError, match="fc9"):
        pruner.check(RequestedSize(9, "parameters"), model, units)
