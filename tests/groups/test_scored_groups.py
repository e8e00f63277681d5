"""Tests every saliency of units on a group that two layers compute, by hand."""

from typing import Any

import pytest
import torch
from conftest import component
from decoder import TOKENS, Decoder
from simulated import cross_entropy, total
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.apoz import APoZ
from harness.saliency.bn_scale import BNScale
from harness.saliency.fisher import Fisher
from harness.saliency.fpgm import FPGM
from harness.saliency.hrank import HRank
from harness.saliency.magnitude import Magnitude
from harness.saliency.mean_activation import MeanActivation
from harness.saliency.random import Random
from harness.saliency.taylor import Taylor
from harness.saliency.taylor_activation import TaylorActivation
from harness.saliency.taylor_group import TaylorGroup
from harness.saliency.taylor_unit import TaylorUnit
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.group import Group
from harness.structure.kernel import Kernel
from harness.vocabulary.tensors import Tensors, local_mean

SAMPLES = torch.tensor([[1.0], [-2.0]])
LABELS = torch.tensor([0, 0])


class TwoProducers(nn.Module):
    """Computes head(one(x) + norm(other(x))); without ReLU, so that gradients are plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
        self.norm, self.head = nn.BatchNorm1d(2, eps=0.0), nn.Linear(2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.one(x) + self.norm(self.other(x)))


def two_producers() -> nn.Module:
    """Returns one(x) = (3x, -x), norm(other(x)) = (2x, -12x), head (1, 2)."""
    model = TwoProducers().eval()
    values = {
        "one.weight": [[3.0], [-1.0]],
        "other.weight": [[1.0], [4.0]],
        "norm.weight": [2.0, -3.0],
        "head.weight": [[1.0, 2.0]],
    }
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(torch.tensor(value))
    return model


def unit_scores(
    saliency: Any, structure: Any, model: nn.Module, inputs: Tensor = SAMPLES
) -> Tensors:
    """Returns one score per unit; the loss is the sum of the outputs."""
    units = structure.units(model, inputs)
    data = Calibration([(inputs, LABELS)], total, local_mean)
    pruner = Pruner(saliency, structure, GlobalRanking())
    pruner.check(RequestedSize(1, "units"), model, units)
    return pruner.unit_scores(model, make_mask_store(model, units), units, data)


@pytest.mark.parametrize(
    ("saliency", "expected"),
    [
        # Pooled by mean over both layers' rows.
        (Magnitude(), [(3 + 1) / 2, (1 + 4) / 2]),
        (Magnitude("l2"), [(9 + 1) / 2, (1 + 16) / 2]),
        # Of each layer |w_0 - w_1|: 4 and 3.
        (FPGM(), [3.5, 3.5]),
        # x is 1 and -2. one: 3x and -x; norm: 2x and -12x. Active: x > 0 and x < 0.
        (APoZ(), [0.5, 0.5]),
        # relu: 3 and 2 of 3x; 2 and 24 of -x and -12x, each halved.
        (MeanActivation(), [(3 / 2 + 2 / 2) / 2, (2 / 2 + 24 / 2) / 2]),
        # The rank of a number is 1 if it is active.
        (HRank(), [0.5, 0.5]),
        # w g: one 3x and -x * 2; other 1 * 2x and 4 * -3x * 2. Mean square of x: 2.5.
        (Taylor(), [2.5 * (9 + 4) / 2, 2.5 * (4 + 576) / 2]),
        (Fisher(), [2.5 * (9 + 4) / 4, 2.5 * (4 + 576) / 4]),
        # A gate on each layer's map, squared, then pooled.
        (TaylorUnit(), [2.5 * (9 + 4) / 2, 2.5 * (4 + 576) / 2]),
        # Added over both layers before the square: 5x and -26x.
        (TaylorGroup(), [2.5 * 25, 2.5 * 676]),
        (TaylorGroup("absolute"), [1.5 * 5, 1.5 * 26]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scores_of_a_unit_of_two_layers_by_hand(saliency, expected) -> None:
    scores = unit_scores(saliency, Group(), two_producers())
    assert list(scores) == ["one.weight"]
    assert scores["one.weight"].tolist() == pytest.approx(expected)


def test_random_scores_of_both_layers_are_pooled() -> None:
    noise = Random(seed=0).score({n: torch.zeros(2, 1) for n in ("one.weight", "other.weight")}, {})
    expected = (noise["one.weight"] + noise["other.weight"]).flatten() / 2
    assert torch.allclose(unit_scores(Random(0), Group(), two_producers())["one.weight"], expected)


def test_the_sum_over_all_members_adds_norms_and_columns() -> None:
    # Rows 3x + 2x, scale 2x, shift 0, column 5x; -2x - 24x, -24x, 0, -26x.
    scores = unit_scores(TaylorGroup(), Group(pool_over="members"), two_producers())
    assert scores["one.weight"].tolist() == pytest.approx([2.5 * 12**2, 2.5 * 76**2])


def test_opposite_changes_of_two_layers_cancel_before_the_square() -> None:
    model = two_producers()
    with torch.no_grad():
        model.other.weight[0] = -1.5  # 3x of one, -3x of other
    assert unit_scores(TaylorGroup(), Group(), model)["one.weight"][0] == 0
    assert unit_scores(Taylor(), Group(), model)["one.weight"][0] > 0


def test_pooling_by_other_rules_leaves_the_sum_alone() -> None:
    for pool_by in ("mean", "sum", "max"):
        scores = unit_scores(TaylorGroup(), Group(pool_by), two_producers())
        assert scores["one.weight"].tolist() == pytest.approx([62.5, 1690.0])


@pytest.mark.parametrize("structure", [Kernel(), Element()])
def test_sums_over_units_need_groups(structure) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))
    with pytest.raises(ValueError, match="saliency TaylorGroup .*; use structure=.*filter"):
        pruner = Pruner(TaylorGroup(), structure, GlobalRanking())
        units = structure.units(model, torch.zeros(2, 1, 6, 6))
        pruner.check(RequestedSize(1, "units"), model, units)


class TwoNorms(nn.Module):
    """Adds two normed layers, and takes a norm of the sum."""

    def __init__(self, second: bool = True) -> None:
        super().__init__()
        self.one, self.bn_one = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        self.other, self.bn_other = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        self.bn_sum = nn.BatchNorm2d(2) if second else nn.Identity()
        self.head = nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        added = self.bn_one(self.one(x)) + self.bn_other(self.other(x))
        return self.head(self.bn_sum(added))


@pytest.mark.parametrize(
    ("second", "pool_by", "expected"),
    [
        (False, "mean", [(1 + 3) / 2, (2 + 4) / 2]),
        (True, "mean", [(1 + 3 + 50) / 3, (2 + 4 + 0) / 3]),
        (True, "sum", [54.0, 6.0]),
        (True, "max", [50.0, 4.0]),
    ],
)
def test_scales_of_all_norms_of_a_group_are_pooled(second, pool_by, expected) -> None:
    model = TwoNorms(second)
    with torch.no_grad():
        model.bn_one.weight.copy_(torch.tensor([1.0, -2.0]))
        model.bn_other.weight.copy_(torch.tensor([-3.0, 4.0]))
        if second:
            model.bn_sum.weight.copy_(torch.tensor([50.0, 0.0]))
    scores = unit_scores(BNScale(), Filter(pool_by), model, torch.ones(2, 1, 2, 2))
    assert scores["one.weight"].tolist() == pytest.approx(expected)


def test_distances_are_those_of_the_rows_of_each_layer_and_convolution_group() -> None:
    # A unit is a filter of the first layer with one group of the second: rows 0 and 1, 2 and 3.
    first, grouped = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 4, 1, groups=2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, 4.0]).view(2, 1, 1, 1))
        grouped.weight.copy_(torch.tensor([0.5, 1.0, 3.0, 7.0]).view(4, 1, 1, 1))
    model = nn.Sequential(first, grouped, nn.Conv2d(4, 1, 1))
    scores = unit_scores(FPGM(), Filter(), model, torch.ones(2, 1, 2, 2))
    # 3 and 3; 0.5 + 2.5 + 6.5, 0.5 + 2 + 6, 2.5 + 2 + 4 and 6.5 + 6 + 4.
    assert scores["0.weight"].tolist() == [(3 + 9.5 + 8.5) / 3, pytest.approx((3 + 8.5 + 16.5) / 3)]


ROWS = {
    "attention_head": {
        "attention.query": (2, 6),
        "attention.key": (2, 3),
        "attention.value": (2, 3),
    },
    "ffn": {"ffn.gate": (16, 1), "ffn.up": (16, 1)},
}  # fmt: skip


@pytest.mark.parametrize("structure", ROWS)
@pytest.mark.parametrize(
    "saliency",
    [FPGM(), HRank(), APoZ(), MeanActivation(), TaylorUnit(), TaylorActivation()],
    ids=lambda saliency: type(saliency).__name__,
)
def test_heads_and_inner_units_pool_the_rows_of_their_layers(saliency, structure) -> None:
    torch.manual_seed(0)
    model, part = Decoder().eval(), component("structure", structure)
    units = part.units(model, TOKENS)
    pruner = Pruner(saliency, part, GlobalRanking())
    pruner.check(RequestedSize(1, "units"), model, units)
    data = Calibration([(TOKENS, torch.zeros(len(TOKENS)))], total, local_mean)
    rows = pruner.scores(model, units, data)
    parts = [rows[f"{layer}.weight"].view(shape) for layer, shape in ROWS[structure].items()]
    (found,) = pruner.unit_scores(model, make_mask_store(model, units), units, data).values()
    assert torch.allclose(found, torch.cat(parts, 1).mean(1)) and found.isfinite().all()


def test_losses_of_single_samples_are_summed_and_not_their_gradients() -> None:
    model, structure = two_producers(), Group()
    model.head = nn.Linear(2, 2, bias=False)
    units = structure.units(model, SAMPLES)
    data = Calibration([(SAMPLES, torch.tensor([0, 1]))], cross_entropy, local_mean)
    scores = Pruner(TaylorGroup(), structure, GlobalRanking()).scores(model, units, data)
    expected = torch.zeros(2)
    for x, label in zip(SAMPLES, (0, 1), strict=True):
        rows = [model.one.weight, model.other.weight]
        loss = cross_entropy(model(x[None]), torch.tensor([label]))
        gradients = torch.autograd.grad(loss, rows)
        changes = [(w * g).sum(1) for w, g in zip(rows, gradients, strict=True)]
        expected += (changes[0] + changes[1]).detach() ** 2 / 2
    assert torch.allclose(scores["one.weight"], expected)
