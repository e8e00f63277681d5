"""Tests widths that stay in multiples: round_to, of structures whose units are those of groups."""

import logging

import pytest
import torch
from conftest import cases
from torch import Tensor, nn

import harness
from harness.allocation.uniform import Uniform
from harness.structure.attention_head import AttentionHead
from harness.structure.filter import Filter
from harness.structure.group import Group
from harness.structure.row import Row

IMAGES = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)


class Residual(nn.Module):
    """Adds b to a, and reads both beside c: widths 24, 24 and 20, then a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
        self.c = nn.Conv2d(3, 20, 3, padding=1)
        self.d = nn.Conv2d(44, 32, 1)
        self.e = nn.Conv2d(32, 32, 3, groups=4)
        self.o = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.a(x)
        stream = stream + self.b(stream.relu())
        both = torch.cat([stream, self.c(x)], 1).relu()
        return self.o(self.e(self.d(both).relu()).mean((2, 3)))


@cases("round_to", 8, 4, None)
@cases("density", 0.7, 0.4)
def test_what_is_left_of_sums_and_of_what_lies_side_by_side_has_multiples(
    round_to, density
) -> None:
    torch.manual_seed(0)
    model, step = Residual(), round_to or 1
    structure = Group(round_to=round_to)
    masks = harness.prune(
        model, density, structure=structure, allocation=Uniform(), example_input=IMAGES
    )
    small = harness.compact(model, masks, IMAGES)
    assert small.a.out_channels % step == small.b.out_channels % step == 0
    assert small.c.out_channels % step == 0
    # Reads both, whose widths are multiples each.
    assert small.d.in_channels == small.a.out_channels + small.c.out_channels
    widths = small.a.out_channels, small.c.out_channels, small.e.out_channels
    assert all(0 < width < dense for width, dense in zip(widths, (24, 20, 32), strict=True))


def test_channels_of_a_grouped_convolution_count_together() -> None:
    (step,) = {
        each.multiple
        for name, each in Group(round_to=16).units(Residual(), IMAGES).items()
        if "e.weight" in each.weights
    }
    # A unit is a channel of each of the 4 groups, or a whole group of 8: either way 16 channels.
    units = Group().units(Residual(), IMAGES)
    (one,) = [each for each in units.values() if "e.weight" in each.weights]
    assert step * 32 // one.count == 16


class Attention(nn.Module):
    """Computes attention of 6 heads of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(8, 72), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(len(x), 5, 3, 6, 4).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.o(mixed.transpose(1, 2).reshape(len(x), 5, 24)).mean(1)


def test_heads_stay_in_such_numbers_that_their_rows_are_a_multiple() -> None:
    model, inputs = Attention(), torch.randn(2, 5, 8)
    masks = harness.prune(
        model, 0.6, structure=AttentionHead(round_to=8), allocation=Uniform(), example_input=inputs
    )
    # Of heads of 4 rows in queries, keys and values each, two are 8 rows; 4 of 6 stay.
    assert int(masks["qkv.weight"].any(1).sum()) == 4 * 12


def test_a_later_call_begins_with_what_is_left_and_revives_nothing() -> None:
    torch.manual_seed(0)
    model = Residual()
    parts = {"structure": Filter(round_to=8), "allocation": Uniform(), "example_input": IMAGES}
    first = harness.prune(model, 0.7, rounds=2, **parts)
    second = harness.prune(model, 0.4, masks=first, **parts)
    for name, mask in second.items():
        assert not (mask & ~first[name]).any()
    rows = {name: int(second[f"{name}.weight"].flatten(1).any(1).sum()) for name in "abcde"}
    assert all(0 < count < 24 and count % 8 == 0 for count in rows.values())


def test_a_number_that_no_group_is_wider_than_is_refused() -> None:
    with pytest.raises(ValueError, match=r"structure.round_to=32 leaves nothing .* units of a "):
        harness.prune(Residual(), 0.5, structure=Filter(round_to=32), example_input=IMAGES)


def test_groups_of_which_all_or_none_stay_are_logged(caplog) -> None:
    caplog.set_level(logging.INFO)
    model = Residual()
    parts = {"structure": Row(round_to=24), "allocation": Uniform(), "example_input": IMAGES}
    masks = harness.prune(model, 0.8, **parts)
    assert "structure=row: with round_to=24 all or none stay of a, c" in caplog.text
    assert masks["a.weight"].all() and int(masks["e.weight"].flatten(1).any(1).sum()) == 24


def test_a_size_whose_nearest_is_that_of_the_whole_model_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing to prune at the requested size"):
        harness.prune(Residual(), 0.97, structure=Filter(round_to=16), example_input=IMAGES)
    masks = harness.prune(Residual(), 1.0, structure=Filter(round_to=16), example_input=IMAGES)
    assert all(mask.all() for mask in masks.values())


def test_a_count_of_one_layer_that_is_no_multiple_is_refused() -> None:
    parts = {"structure": Filter(round_to=8), "example_input": IMAGES}
    with pytest.raises(ValueError, match=r"keep\['c.weight'\]=18 .* of 8 units.* choose 16 or 20"):
        harness.prune(Residual(), keep={"c.weight": 18}, **parts)
    masks = harness.prune(Residual(), keep={"c.weight": 16}, **parts)
    assert int(masks["c.weight"].flatten(1).any(1).sum()) == 16 and masks["a.weight"].all()


@cases("value", 0, 1.5, "8")
def test_what_is_no_number_of_channels_is_refused(value) -> None:
    with pytest.raises(ValueError, match="round_to must be a whole number >= 1"):
        Filter(round_to=value)
