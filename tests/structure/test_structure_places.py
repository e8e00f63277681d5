"""Tests filters whose places change on the way to what reads them: slices, shuffles, pixels."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from removed_units import masked, reach_outputs
from torch import Tensor, nn

from harness.structure.filter import Filter
from harness.structure.neuron import Neuron

INPUTS = torch.linspace(-1, 1, 24).view(3, 8)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 36).view(2, 3, 6, 6)


class Between(nn.Module):
    """A convolution of 4 filters, a way of its own, a norm of 4, and a classifier."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(6 if way == "beside" else 4)
        self.o = nn.Linear(6 if way == "beside" else 4, 2)
        nn.init.ones_(self.norm.bias)

    def normed(self, x: Tensor) -> Tensor:
        x, side = self.conv(x), self.side(x)
        if self.way == "beside":
            x = torch.cat([side, x], 1)
        if self.way == "shuffle":
            x = x.view(len(x), 2, 2, 6, 6).transpose(1, 2).flatten(1, 2)
        if self.way == "halves":
            x = torch.cat([x[:, 2:], x[:, :2]], 1)
        if self.way == "roll":
            x = x.roll(1, 1)
        if self.way == "index":
            x = x[:, [3, 2, 1, 0]]
        if self.way == "whole":
            x = torch.ops.aten.slice(x, 1)
        if self.way == "last":
            # Every step keeps each filter in its place.
            x = F.pad(F.max_pool2d(x.relu(), 2), (1, 1)).flatten(2).transpose(1, 2)
            x = x.reshape(-1, 4)[:, :, None, None] * 2
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.normed(x).mean((2, 3)))


@pytest.mark.parametrize("way", ["straight", "last", "whole", "shuffle", "halves", "beside"])
def test_filters_lose_the_norm_wherever_it_meets_them(way) -> None:
    model = Between(way)
    units = Filter().units(model, IMAGES)
    assert {"norm.weight", "norm.bias", "o.weight"} < masked(units)["conv.weight"]
    assert not reach_outputs(model, units, IMAGES)


def test_filters_lose_the_entries_of_a_norm_in_its_order() -> None:
    lost = torch.tensor([True, True, False, True])
    for way, bias in (
        ("straight", [True, True, False, True]),
        ("halves", [False, True, True, True]),
        ("beside", [True, True, True, True, False, True]),
    ):
        units = Filter().units(Between(way), IMAGES)["conv.weight"]
        assert units.masks(lost)["norm.bias"].tolist() == bias


@pytest.mark.parametrize("way", ["roll", "index"])
def test_filters_that_are_picked_by_number_stay_whole(way) -> None:
    with pytest.raises(ValueError, match="of conv: it is a position, which is picked by number"):
        Filter().units(Between(way), IMAGES)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)])
def test_norms_that_reshape_inside_lose_what_the_filters_lose(norm) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    units = Filter().units(model, IMAGES)
    own = {"0.weight", "0.bias", "2.weight", "2.bias", "5.weight"}
    assert masked(units) == {"0.weight": own} and not reach_outputs(model, units, IMAGES)


def test_neurons_before_a_norm_that_is_written_out_stay_whole() -> None:
    class WrittenOut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.o = nn.Linear(8, 4), nn.Linear(4, 2)
            self.scale, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x = (x - x.mean(-1, keepdim=True)) * x.var(-1, keepdim=True).add(1e-5).rsqrt()
            return self.o(x * self.scale + self.shift)

    with pytest.raises(ValueError, match="of a: mean is taken over it"):
        Neuron().units(WrittenOut(), INPUTS)


def test_filters_before_a_norm_over_flattened_pixels_take_its_entries_of_all_their_pixels() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 5), nn.Flatten(), nn.BatchNorm1d(16), nn.Sigmoid(), nn.Linear(16, 2)
    )
    units = Filter().units(model, IMAGES)
    masks = units["0.weight"].masks(torch.tensor([True, False, True, True]))
    assert masks["2.bias"].tolist() == [True] * 4 + [False] * 4 + [True] * 8
    assert not reach_outputs(model, units, IMAGES)


def test_a_column_that_is_left_out_of_a_group_shows() -> None:
    model = Between("straight")
    units = Filter().units(model, IMAGES)
    whole = units["conv.weight"]
    rows = tuple(member for member in whole.group.members if member.role == "output")
    units["conv.weight"] = replace(whole, group=replace(whole.group, members=rows))
    assert reach_outputs(model, units, IMAGES)
