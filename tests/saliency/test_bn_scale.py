"""BNScale: the gamma of each layer's norm, and layers that have none."""

import pytest
import torch
from conftest import cases
from simulated import cross_entropy
from torch import nn
from unit_network import IMAGES, named, network, units_of

from harness.pruning.reader import companions_of
from harness.saliency.base import CalibrationData
from harness.saliency.bn_scale import BNScale
from harness.structure.filter import Filter
from harness.vocabulary.tensors import local_mean


def test_bn_scale_is_the_absolute_gamma_of_each_layers_norm() -> None:
    model = network()
    with torch.no_grad():
        model.bn2.weight.copy_(torch.tensor([-2.0, 0.5, 0.0, 1.0]))
    units = companions_of(Filter().units(model, IMAGES))
    statistics = BNScale().statistics(CalibrationData(model, [], cross_entropy, local_mean, units))
    scores = BNScale().score({"conv2.weight": torch.empty(0)}, statistics)
    assert statistics["conv2.weight"].tolist() == [-2.0, 0.5, 0.0, 1.0]
    assert {name: score.tolist() for name, score in scores.items()} == {
        "conv2.weight": [2.0, 0.5, 0.0, 1.0]
    }


def test_the_statistics_of_bn_scale_are_a_copy() -> None:
    model = network()
    units = units_of(model)
    statistics = BNScale().statistics(CalibrationData(model, [], cross_entropy, local_mean, units))
    before = model.bn1.weight.detach().clone()
    nn.init.zeros_(model.bn1.weight)
    assert torch.equal(statistics["conv1.weight"], before)
    assert not statistics["conv1.weight"].requires_grad


def test_bn_scale_without_units_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match="bn_scale .* use a structure such as filter or group"):
        BNScale().statistics(CalibrationData(network(), [], cross_entropy))


@cases("norm", nn.Identity(), nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4), ids=named)
def test_bn_scale_refuses_a_layer_without_a_batch_norm_by_name(norm) -> None:
    model = network()
    model.bn2 = norm
    units = companions_of(Filter().units(model, IMAGES))
    with pytest.raises(ValueError, match="BatchNorm .* conv2 alone feeds.* exclude conv2,"):
        BNScale().statistics(CalibrationData(model, [], cross_entropy, local_mean, units))
    rest = {"conv1.weight": units["conv1.weight"]}
    assert list(
        BNScale().statistics(CalibrationData(model, [], cross_entropy, local_mean, rest))
    ) == ["conv1.weight"]
