"""Tests that a removed unit is gone with norms, tables, tokens and constants in its channel."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from removed_units import masked, reach_outputs
from torch import Tensor, nn

import harness
from harness.structure.row import Row

IMAGES = torch.linspace(-1, 1, 2 * 3 * 36).view(2, 3, 6, 6)
SEQUENCES = torch.linspace(-1, 1, 2 * 5 * 6).view(2, 5, 6)


class OverLast(nn.BatchNorm1d):
    """Applies a batch norm to the channels of the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Normed(nn.Module):
    """Holds layers a and c, norm n, classifier o, a class token, tables of positions, a bias."""

    def __init__(self, way: Callable[["Normed", Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.a, self.c = nn.Linear(6, 8), nn.Linear(6, 8)
        self.n, self.o = OverLast(8), nn.Linear(8, 3)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 5, 8))
        self.one, self.bias = nn.Parameter(torch.ones(1, 8)), nn.Parameter(torch.ones(8))
        self.scalar = nn.Parameter(torch.ones(()))
        self.register_buffer("table", torch.ones(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.way(self, x)).mean(1)


def with_token(m: Normed, x: Tensor) -> Tensor:
    return torch.cat([m.cls.expand(len(x), -1, -1), m.a(x)], 1)


OWN = {"a.weight", "a.bias", "n.weight", "n.bias", "o.weight"}


@cases(
    "way, more",
    (lambda m, x: m.n(m.a(x) + m.pos), {"pos"}),
    (lambda m, x: m.n(F.relu(m.a(x) + m.one) * 2), {"one"}),
    (lambda m, x: m.n(m.a(x) + m.bias), {"bias"}),
    (lambda m, x: m.n(m.a(x) + m.table), set()),
    (lambda m, x: m.n(m.a(x).add_(1.5)), set()),
    (lambda m, x: m.n(1 - m.a(x)), set()),
    (lambda m, x: m.n(m.a(x) + m.scalar), set()),
    (lambda m, x: m.n(with_token(m, x)), {"cls"}),
    (lambda m, x: m.n(torch.where(x[..., :1] > 0, m.a(x), 1.0)), set()),
    (lambda m, x: m.n(m.a(x) * (1 + m.table)), set()),
    (lambda m, x: m.n(sum([m.a(x)])), set()),  # 0 + a
    (lambda m, x: m.n(m.a(x) * F.relu6(m.a(x) + 3) / 6), set()),
    (lambda m, x: m.n(torch.sigmoid(m.a(x))), set()),
    (lambda m, x: m.n(m.a(x)) + m.n(m.c(x)), {"c.weight", "c.bias"}),
    (lambda m, x: m.n(m.c(x) + m.a(x) + m.n(m.a(x)) + m.n(m.c(x))), {"c.weight", "c.bias"}),
)
def test_removed_units_are_gone_with_all_that_lives_in_their_channel(way, more) -> None:
    model, inputs = Normed(way), torch.randn(2, 5, 6)
    units = Row().units(model, inputs)
    assert masked(units) == {"a.weight": OWN | more}
    assert not reach_outputs(model, units, inputs)


@cases(
    "way, reason",
    (lambda m, x: torch.where(x[..., :1] > 0, m.a(x), torch.ones(8)), "values of a fixed size"),
    (lambda m, x: torch.cat([m.a(x), torch.ones(2, 1, 8)], 1), "lies beside what has a fixed size"),
    (lambda m, x: m.a(x) / (m.a(x).abs().mean() + 1), "mean is taken over it"),
    (lambda m, x: F.layer_norm(m.a(x), (8,)) * m.bias, "the model takes statistics over the units"),
    (lambda m, x: F.layer_norm(m.a(x), (8,)), "the model takes statistics over the units"),
)
def test_units_that_share_values_with_others_stay_whole(way, reason) -> None:
    with pytest.raises(ValueError, match=f"of a: .*{reason}"):
        Row().units(Normed(lambda m, x: m.n(way(m, x))), SEQUENCES)


class OwnRMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt())


@cases("norm", nn.RMSNorm(8), OwnRMSNorm(8))
def test_units_whose_number_an_rms_norm_counts_are_removed(norm) -> None:
    model = nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 3))
    units = Row().units(model, SEQUENCES)
    assert masked(units) == {"0.weight": {"0.weight", "0.bias", "1.weight", "2.weight"}}


@cases(
    "norm",
    nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4, affine=False), nn.InstanceNorm2d(4),
)  # fmt: skip
def test_a_norm_without_parameters_sends_nothing_of_removed_filters_on(norm) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    units = Row().units(model, IMAGES)
    assert masked(units) == {"0.weight": {"0.weight", "0.bias", "4.weight"}}
    assert not reach_outputs(model, units, IMAGES)


class ByHand(nn.Module):
    """Holds a scale and a shift of 4 channels, as parameters and as buffers."""

    def __init__(self, way: Callable[["ByHand", Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        for name, value in {"scale": 2.0, "shift": 1.0}.items():
            self.register_buffer(name, torch.full((4, 1, 1), value))

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def with_norm(way: Callable[[ByHand, Tensor], Tensor]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), ByHand(way), nn.ReLU(), nn.Conv2d(4, 2, 1))


BOTH = {"1.weight", "1.bias"}


@cases(
    "way, own",
    (lambda m, x: torch.addcmul(m.bias[:, None, None], x, m.weight[:, None, None]), BOTH),
    (lambda m, x: (x - m.shift) / m.scale * m.weight.view(4, 1, 1) + m.bias.view(4, 1, 1), BOTH),
    (lambda m, x: x * m.scale + m.shift, set()),
    (lambda m, x: torch.addcmul(m.shift, x, m.scale), set()),
    (lambda m, x: x.permute(0, 2, 3, 1).sub(m.shift[:, 0, 0]).permute(0, 3, 1, 2), set()),
    (lambda m, x: x * m.weight[:, None, None] + m.shift, {"1.weight"}),
    (lambda m, x: (x - m.shift) * m.weight[:, None, None], {"1.weight"}),
)
def test_norms_by_hand_are_cut_in_the_dimension_of_their_channels(way, own) -> None:
    model = with_norm(way)
    units = Row().units(model, IMAGES)
    assert masked(units) == {"0.weight": {"0.weight", "0.bias", "3.weight"} | own}
    assert not reach_outputs(model, units, IMAGES)


@cases(
    "way, reason",
    (lambda m, x: x - x.mean(1, keepdim=True), "mean is taken over it in 1 .ByHand."),
    (lambda m, x: x * (2 - torch.equal(x[0, :, :1, :1], m.shift)), "operator equal has no rule"),
)
def test_norms_by_hand_that_read_many_channels_leave_them_whole(way, reason) -> None:
    with pytest.raises(ValueError, match=f"of 0: {reason}"):
        Row().units(with_norm(way), IMAGES)


def test_a_shift_that_is_no_parameter_reaches_no_layer() -> None:
    model = with_norm(lambda m, x: x * m.scale + m.shift)
    masks = harness.prune(model, 0.5, structure="filter", example_input=IMAGES)
    gone = ~masks["0.weight"].flatten(1).any(1)
    assert model[:2](IMAGES)[:, gone].all() and not model[3].weight[:, gone].any()
