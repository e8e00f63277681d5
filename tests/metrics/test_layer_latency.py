"""Tests widths and copies of layers of which the time is measured."""

from collections import OrderedDict

import torch
from torch import nn

from harness.metrics.layer_latency import Width, seen_layers, smaller, step_of, widths
from harness.structure.filter import Filter

IMAGES = torch.zeros(2, 3, 8, 8)


def network() -> nn.Module:
    """Returns a convolution, a depthwise one, a transposed one, and one in two groups."""
    layers = OrderedDict(
        a=nn.Conv2d(3, 8, 1), depthwise=nn.Conv2d(8, 8, 3, padding=1, groups=8),
        up=nn.ConvTranspose2d(8, 6, 2, stride=2), mid=nn.Conv2d(6, 4, 1),
        grouped=nn.Conv2d(4, 4, 1, groups=2), last=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    return nn.Sequential(layers)


def test_each_width_of_each_kind_of_convolution_runs_at_its_own_size() -> None:
    model = network()
    units, seen = Filter().units(model, IMAGES), seen_layers(model, IMAGES)
    found = {}
    for name, each in seen.items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        shape = layer.weight.shape
        grids = [widths(units, name, dim, shape[dim], 2) for dim in (0, 1)]
        for first in grids[0]:
            for second in grids[1]:
                copy = smaller(layer, first, second)
                step_of(copy, each.inputs)()
                key = name.removesuffix(".weight"), first.size, second.size
                found[key] = copy.in_channels, copy.out_channels, copy.groups

    assert found["a", 4, 3] == (3, 4, 1) and found["a", 8, 3] == (3, 8, 1)
    assert found["depthwise", 4, 1] == (4, 4, 4)
    assert found["up", 4, 6] == (4, 6, 1) and found["up", 8, 6] == (8, 6, 1)
    assert {key[1:] for key in found if key[0] == "last"} == {(2, 2), (2, 4)}
    assert found["grouped", 4, 2] == (4, 4, 2) and found["grouped", 2, 2] == (2, 2, 1)
    assert model.a.out_channels == 8  # the dense layers stay as they are


def test_a_layer_that_no_unit_narrows_has_its_dense_width_alone() -> None:
    assert widths({}, "a.weight", 0, 8, 5) == [Width(8, None)]


def test_a_layer_without_a_call_of_its_own_is_not_seen_and_two_calls_are_both_seen() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.weight_alone = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.twice(self.twice(x)[:1]) @ self.weight_alone.weight

    seen = seen_layers(Model(), torch.zeros(3, 4))
    assert list(seen) == ["twice.weight"]
    assert seen["twice.weight"] == (((3, 4), (1, 4)), 16)
