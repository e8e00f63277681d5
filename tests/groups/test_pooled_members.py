"""Scores of units pooled over all members of their groups, and compared between groups."""

from typing import Any

import pytest
import torch
from simulated import cross_entropy
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.groups.pooling import normalized
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.pruning_order import check_parts
from harness.pruning.reader import Calibration
from harness.saliency.bn_scale import BNScale
from harness.saliency.fisher import Fisher
from harness.saliency.fpgm import FPGM
from harness.saliency.magnitude import Magnitude
from harness.saliency.random import Random
from harness.saliency.synflow import SynFlow
from harness.saliency.taylor import Taylor
from harness.saliency.taylor_unit import TaylorUnit
from harness.saliency.wanda import Wanda
from harness.saliency.weight_gradient import WeightGradient
from harness.structure.group import Group
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Tensors, local_mean

INPUTS = torch.tensor([[1.0, 2.0], [-1.0, 3.0]])


class Summed(nn.Module):
    """Adds two layers of two units, of which one has a norm, and reads the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
        self.norm, self.head = nn.BatchNorm1d(2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.one(x) + self.norm(self.other(x))))


def summed() -> Summed:
    model = Summed().eval()
    values = {
        "one.weight": [[1.0, -2.0], [0.0, 1.0]],
        "one.bias": [0.5, 0.0],
        "other.weight": [[1.0, 1.0], [3.0, 0.0]],
        "norm.weight": [2.0, -1.0],
        "norm.bias": [0.0, 4.0],
        "head.weight": [[1.0, -1.0], [2.0, 5.0]],
    }
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(torch.tensor(value))
    return model


def unit_scores(saliency: Any, structure: Any, model: nn.Module) -> Tensors:
    units = structure.units(model, INPUTS)
    store = make_mask_store(model, units)
    labels = torch.tensor([0, 1])
    data = Calibration([(INPUTS, labels)], cross_entropy, local_mean)
    return Pruner(saliency, structure, GlobalRanking()).unit_scores(model, store, units, data)


@pytest.mark.parametrize(
    ("pool_by", "pool_over", "expected"),
    [
        # |1| + |-2| + |1| + |1|; 0 + 1 + 3 + 0.
        ("sum", "producers", [5.0, 4.0]),
        # With |bias| 0.5, |scale| 2, |shift| 0, columns 1 and 2; 0, 1, 4, 1 and 5.
        ("sum", "members", [10.5, 15.0]),
        ("mean", "members", [10.5 / 9, 15.0 / 9]),
        ("max", "members", [2.0, 5.0]),
        ("l2", "members", [16.25**0.5, 53.0**0.5]),
    ],
)
def test_magnitudes_of_members_by_hand(pool_by, pool_over, expected) -> None:
    scores = unit_scores(Magnitude(), Group(pool_by, pool_over), summed())
    assert scores["one.weight"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("saliency", [Taylor(), Fisher(), WeightGradient(), Random(seed=0)])
def test_entries_of_every_member_are_scored_and_added(saliency) -> None:
    model, structure = summed(), Group("sum", "members")
    units = structure.units(model, INPUTS)
    data = Calibration([(INPUTS, torch.tensor([0, 1]))], cross_entropy, local_mean)
    of = Pruner(saliency, structure, GlobalRanking()).scores(model, units, data)
    assert set(of) == {
        "one.weight", "one.bias", "other.weight", "norm.weight", "norm.bias", "head.weight"
    }  # fmt: skip
    rows = sum(of[name].flatten(1).sum(1) for name in ("one.weight", "other.weight"))
    vectors = of["one.bias"] + of["norm.weight"] + of["norm.bias"]
    expected = rows + vectors + of["head.weight"].sum(0)
    assert torch.allclose(units["one.weight"].pool(of), expected) and expected.all()


def test_a_scale_of_a_norm_has_the_taylor_score_of_one_weight() -> None:
    # Only the scale's entries: (gamma g)^2 of each sample, averaged.
    model, squares = summed(), torch.zeros(2)
    for x, label in zip(INPUTS, (0, 1), strict=True):
        loss = cross_entropy(model(x[None]), torch.tensor([label]))
        squares += (model.norm.weight * torch.autograd.grad(loss, model.norm.weight)[0]) ** 2
    data = Calibration([(INPUTS, torch.tensor([0, 1]))], cross_entropy, local_mean)
    structure = Group("sum", "members")
    scores = Pruner(Taylor(), structure, GlobalRanking()).scores(
        model, structure.units(model, INPUTS), data
    )
    assert torch.allclose(scores["norm.weight"], squares.detach() / 2)


@pytest.mark.parametrize("saliency", [FPGM(), BNScale(), TaylorUnit(), SynFlow(), Wanda()])
def test_saliencies_of_rows_and_layers_do_not_score_members(saliency) -> None:
    structure, model = Group("mean", "members"), summed()
    pruner = Pruner(saliency, structure, GlobalRanking())
    with pytest.raises(ValueError, match=r"structure.pool_over=members .* alone; use structure.po"):
        pruner.check(RequestedSize(1, "units"), model, structure.units(model, INPUTS))


def chain() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0], [6.0]]))
        model[2].weight.copy_(torch.tensor([[10.0], [30.0]]).expand(2, 3))
    return model


@pytest.mark.parametrize(
    ("normalize", "first", "second"),
    [
        ("none", [1.0, 2.0, 6.0], [10.0, 30.0]),
        ("mean", [1 / 3, 2 / 3, 2.0], [0.5, 1.5]),
        ("max", [1 / 6, 1 / 3, 1.0], [1 / 3, 1.0]),
    ],
)
def test_scores_of_groups_are_divided_by_their_mean_or_maximum(normalize, first, second) -> None:
    structure, model = Neuron("mean", normalize=normalize), chain()
    units = structure.units(model, torch.ones(2, 1))
    pruner = Pruner(Magnitude(), structure, GlobalRanking())
    store, data = make_mask_store(model, units), Calibration([], None, local_mean)
    scores = pruner.unit_scores(model, store, units, data)
    assert scores["0.weight"].tolist() == pytest.approx(first)
    assert scores["2.weight"].tolist() == pytest.approx(second)
    # In a ranking of all, a group of larger weights no longer keeps all of its units.
    size = RequestedSize(2, "units")
    masks = pruner.propose(model, store, units, size, data).masks
    kept = [int(masks[f"{layer}.bias"].sum()) for layer in (0, 2)]
    assert kept == ([0, 2] if normalize == "none" else [1, 1])


@pytest.mark.parametrize("by", ["none", "mean", "max"])
def test_scores_that_are_all_0_stay(by) -> None:
    assert normalized(torch.tensor([0.0, -torch.inf, 0.0]), by).tolist() == [0.0, -torch.inf, 0.0]


def test_columns_in_another_part_of_a_pruning_order_are_not_scored_in_this_one() -> None:
    model, parts = chain(), ["0", "2", "4"]
    check_parts(parts, Neuron().units(model, torch.ones(2, 1)))
    with pytest.raises(ValueError, match="2.weight is pruned with the units of 0.weight, but lies"):
        check_parts(parts, Neuron(pool_over="members").units(model, torch.ones(2, 1)))


def test_pruned_units_have_no_part_in_the_mean() -> None:
    structure, model = Neuron("mean", normalize="mean"), chain()
    units = structure.units(model, torch.ones(2, 1))
    store = make_mask_store(model, units)
    store.shrink_to(units["0.weight"].masks(torch.tensor([False, True, True])))
    pruner, data = (
        Pruner(Magnitude(), structure, GlobalRanking()),
        Calibration([], None, local_mean),
    )
    scores = pruner.unit_scores(model, store, units, data)["0.weight"]
    assert scores.tolist() == [-torch.inf, 0.5, 1.5]
