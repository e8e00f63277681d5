"""Tests that metrics read from the weights what pruning decided, for every model of conf/."""

import pytest
import torch
from conftest import component, every, shape_for
from torch import nn

from harness.allocation.base import Allocation, ModelInfo
from harness.metrics.macs import count_macs, macs
from harness.metrics.size import layer_densities, nonzero_fraction, parameters_left
from harness.models.base import Model
from harness.pruning.budget import RequestedSize, SizeModel
from harness.pruning.density import Scope
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.magnitude import Magnitude
from harness.structure.base import Structure
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import local_mean, prunable_weights

SHAPE = (1, 28, 28)
DATA = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)


def whole(model: Model) -> nn.Module:
    """Returns a fresh model without exact zeros, which a random init draws now and then."""
    torch.manual_seed(0)
    network = model.build(shape_for(model), 10)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.masked_fill_(parameter == 0, 0.01)
    return network


class Pruning:
    """A network that is pruned to shares of what may go."""

    def __init__(self, network: nn.Module, structure: Structure, allocation: Allocation, unit: str):
        self.network, self.unit = network, unit
        self.pruner = Pruner(Magnitude(), structure, allocation)
        self.units = structure.units(network, torch.zeros(2, *SHAPE))
        names = {name for each in self.units.values() for name in each.masked}
        self.store = MaskStore({n: p for n, p in network.named_parameters() if n in names})

    @property
    def size_model(self) -> SizeModel:
        return self.pruner.size_model(self.unit, self.network, self.units)

    def to(self, keep: int) -> None:
        goal = RequestedSize(keep, self.size_model.counts)
        model_info = ModelInfo(curves=dict.fromkeys(self.units, ((1.0, 0.1), (0.1, 0.5))))
        masks = self.pruner.propose(
            self.network, self.store, self.units, goal, DATA, model_info
        ).masks
        self.store.shrink_to(masks)
        self.store.apply_to(self.network)


@every("model")
@every("allocation")
def test_density_is_exactly_what_was_asked(model, allocation) -> None:
    network = whole(model)
    pruning = Pruning(network, Element(), allocation, "density")
    total = pruning.size_model.total
    assert total == sum(weight.numel() for weight in prunable_weights(network).values())
    for share in (1.0, 0.3, 0.05):
        keep = round(share * total)
        pruning.to(keep)
        weights = prunable_weights(network)
        assert nonzero_fraction(weights) == keep / total
        sizes = {name: weight.numel() for name, weight in weights.items()}
        layers = layer_densities(weights)
        assert sum(layers[name] * sizes[name] for name in sizes) == pytest.approx(keep)


@every("model")
@every("allocation")
def test_parameters_left_are_exactly_what_compression_asked(model, allocation) -> None:
    network = whole(model)
    pruning = Pruning(network, Element(), allocation, "compression")
    size_model = pruning.size_model
    assert parameters_left(network, pruning.store.masks) == size_model.total
    most = float(size_model.limit(0.0))  # norms and biases that stay forbid more
    for compression in (1.0, 2.0, min(10.0, 0.9 * most)):
        pruning.to(round(size_model.to_kept_fraction(compression) * size_model.removable))
        left = parameters_left(network, pruning.store.masks)
        assert abs(left - size_model.total / compression) <= 0.5


@pytest.mark.parametrize("structure", [Neuron(), Filter()], ids=["neuron", "filter"])
@pytest.mark.parametrize("unit", ["density", "compression"])
def test_whole_units_come_within_half_a_unit_of_what_was_asked(structure, unit) -> None:
    network = whole(component("model", "lenet_5"))
    pruning = Pruning(network, structure, component("allocation", "global_ranking"), unit)
    size_model = pruning.size_model
    dearest = max(each.size for each in pruning.units.values())
    if unit == "compression":  # columns of conv2, fc1 and fc2 go too
        dearest = {"filter": 25 * 20 + 1 + 16 * 500, "neuron": 800 + 1 + 10}[structure.noun]
    for share in (0.7, 0.25):
        pruning.to(round(share * size_model.removable))
        if unit == "density":
            scope = Scope(structure, pruning.units)
            left = scope.density(prunable_weights(network)) * size_model.total
            wanted = share * size_model.total
        else:
            left = parameters_left(network, pruning.store.masks)
            wanted = size_model.total / size_model.from_kept_fraction(share)
        assert abs(left - wanted) <= dearest / 2 + 0.5


@every("model")
def test_macs_fall_with_the_weights_and_end_at_those_of_activations(model) -> None:
    network = whole(model)
    pruning = Pruning(network, Element(), component("allocation", "uniform"), "density")
    counts = [macs(network, shape_for(model))]
    for share in (0.5, 0.1, 0.0):
        pruning.to(round(share * pruning.size_model.total))
        counts.append(macs(network, shape_for(model)))
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4
    inputs = torch.zeros(1, *shape_for(model))
    assert counts[-1] == count_macs(network, inputs).activations


def test_macs_of_uniform_pruning_fall_like_the_density() -> None:
    network = whole(component("model", "lenet_5"))
    before = macs(network, SHAPE)
    pruning = Pruning(network, Element(), component("allocation", "uniform"), "density")
    pruning.to(round(0.1 * pruning.size_model.total))
    assert macs(network, SHAPE) == pytest.approx(before / 10, rel=1e-3)
