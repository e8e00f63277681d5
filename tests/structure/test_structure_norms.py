"""Tests which norms go along with a unit: those in whose channel nothing else lives."""

import logging
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from torch import Tensor, nn

import harness
from harness.structure.row import Row

IMAGES = torch.linspace(-1, 1, 2 * 3 * 36).view(2, 3, 6, 6)
SEQUENCES = torch.linspace(-1, 1, 2 * 5 * 6).view(2, 5, 6)


class Normed(nn.Module):
    """Holds layers a and c, norm n, classifier o, a class token, tables of positions, a bias."""

    def __init__(self, way: Callable[["Normed", Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.a, self.c = nn.Linear(6, 8), nn.Linear(6, 8)
        self.n, self.o = nn.LayerNorm(8), nn.Linear(8, 3)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 5, 8))
        self.one, self.bias = nn.Parameter(torch.ones(1, 8)), nn.Parameter(torch.ones(8))
        self.scalar = nn.Parameter(torch.ones(()))
        self.register_buffer("table", torch.ones(5, 8))
        self.register_buffer("nothing", torch.zeros(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.way(self, x)).mean(1)


def with_token(m: Normed, x: Tensor) -> Tensor:
    return torch.cat([m.cls.expand(len(x), -1, -1), m.a(x)], 1)


@cases(
    "way",
    lambda m, x: m.n(m.a(x) + m.pos), lambda m, x: m.n(F.relu(m.a(x) + m.one) * 2),
    lambda m, x: m.n(m.a(x) + m.table), lambda m, x: m.n(m.a(x).add_(1.5)),
    lambda m, x: m.n(1 - m.a(x)), lambda m, x: m.n(m.a(x) + m.scalar),
    lambda m, x: m.n(torch.where(x[..., :1] > 0, m.a(x), torch.ones(8))),
    lambda m, x: m.n(with_token(m, x)),
    lambda m, x: m.n(torch.cat([m.a(x), torch.ones(2, 1, 8)], 1)),
)  # fmt: skip
def test_a_norm_in_whose_channel_something_else_lives_stays(way) -> None:
    assert Row().units(Normed(way), SEQUENCES) == {"a.weight": ("a.bias",)}


@cases(
    "way",
    lambda m, x: m.n(m.a(x) * (1 + m.table)),
    lambda m, x: m.n(sum([m.a(x)])),  # 0 + a
    lambda m, x: m.n(m.a(x) + m.nothing),
    lambda m, x: m.n(m.a(x) / (m.a(x).abs().mean() + 1)),
    lambda m, x: m.n(m.a(x) * F.relu6(m.a(x) + 3) / 6),
    lambda m, x: m.n(torch.cat([m.a(x)[:, 1:], m.a(x)[:, :1]], 1)),
    lambda m, x: m.n(torch.sigmoid(m.a(x))),
    lambda m, x: m.n(m.c(m.a(x)[..., :6] + 1)),
)
def test_a_norm_behind_a_factor_or_nothing_goes_along(way) -> None:
    units = Row().units(Normed(way), SEQUENCES)
    assert list(units.values())[-1][-2:] == ("n.weight", "n.bias")


def test_a_bias_that_is_added_goes_along_with_the_norm_behind_it() -> None:
    units = Row().units(Normed(lambda m, x: m.n(m.a(x) + m.bias)), SEQUENCES)
    assert set(units["a.weight"]) == {"a.bias", "bias", "n.weight", "n.bias"}


def test_a_pruned_unit_leaves_the_table_in_its_channel() -> None:
    model = Normed(lambda m, x: m.n(m.a(x) + m.pos)).eval()
    nn.init.ones_(model.pos)
    masks = harness.prune(model, 0.5, structure="row", example_input=SEQUENCES)
    assert not masks["a.bias"].all() and model.n.weight.all()


@cases(
    "way",
    lambda m, x: m.n(m.a(x)) + m.n(m.c(x)),
    lambda m, x: m.n(m.c(x) + m.a(x) + m.n(m.a(x)) + m.n(m.c(x))),
)
def test_layers_that_share_a_norm_stay_whole_and_are_named(way, caplog) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="nothing to prune"):
        Row().units(Normed(way), SEQUENCES)
    assert "does not prune a, c: units reach n.bias, which is called on other layers" in caplog.text


NORMS = [nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4, affine=False)]


@cases("norm", *NORMS, nn.InstanceNorm2d(4))
def test_filters_that_send_on_through_a_norm_without_parameters_are_named(norm, caplog) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    assert Row().units(model, IMAGES) == {"0.weight": ("0.bias",)}
    # A norm by each image's own mean of each channel makes 0 of 0.
    told = "removed units of 0 still give what a norm or a shift without parameters makes"
    assert (told in caplog.text) is (norm in NORMS)


def test_a_norm_without_parameters_and_a_scale_of_its_own_is_a_norm(caplog) -> None:
    model = Normed(lambda m, x: F.layer_norm(m.a(x), (8,)) * m.bias)
    assert Row().units(model, SEQUENCES) == {"a.weight": ("a.bias", "bias")}
    model = Normed(lambda m, x: F.layer_norm(m.a(x), (8,)))
    assert not caplog.messages and Row().units(model, SEQUENCES) and "units of a" in caplog.text


class ByHand(nn.Module):
    """Holds a scale and a shift of 4 channels, as parameters and as buffers."""

    def __init__(self, way: Callable[["ByHand", Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        for name, value in {"scale": 2.0, "shift": 1.0, "nothing": 0.0}.items():
            self.register_buffer(name, torch.full((4, 1, 1), value))

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def with_norm(way: Callable[[ByHand, Tensor], Tensor]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), ByHand(way), nn.ReLU(), nn.Conv2d(4, 2, 1))


@cases(
    "way",
    lambda m, x: m.weight[:, None, None] * (x - x.mean(1, keepdim=True)) + m.bias[:, None, None],
    lambda m, x: torch.addcmul(m.bias[:, None, None], x, m.weight[:, None, None]),
    lambda m, x: (x - m.shift) / m.scale * m.weight.view(4, 1, 1) + m.bias.view(1, 4, 1, 1),
    lambda m, x: (
        (x * m.weight.view(4, 1, 1) + m.bias.view(4, 1, 1))
        * (2 - torch.equal(x[0, :, :1, :1], m.shift) - torch.equal(x[0, :, 0, 0], m.bias))
    ),
)
def test_norms_by_hand_go_along_in_the_dimension_of_their_channels(way, caplog) -> None:
    (found,) = Row().units(with_norm(way), IMAGES).values()
    assert set(found) == {"0.bias", "1.weight", "1.bias"} and not caplog.messages


@cases(
    "way, told",
    (lambda m, x: x * m.scale + m.shift, True),
    (lambda m, x: torch.addcmul(m.shift, x, m.scale), True),
    (lambda m, x: x.permute(0, 2, 3, 1).sub(m.shift[:, 0, 0]).permute(0, 3, 1, 2), True),
    (lambda m, x: x * m.weight[:, None, None] + m.shift, True),
    (lambda m, x: x * m.scale + m.nothing, False),
    (lambda m, x: (x - m.shift) * m.weight[:, None, None], False),
)
def test_filters_that_send_on_a_shift_that_is_no_parameter_are_named(way, told, caplog) -> None:
    model = with_norm(way)
    masks = harness.prune(model, 0.5, structure="filter", example_input=IMAGES)
    gone = ~masks["0.weight"].flatten(1).any(1)
    assert bool(model[:2](IMAGES)[:, gone].any()) is told
    assert ("removed units of 0 still give" in caplog.text) is told
