"""What every saliency of units owes the pruner; FPGM and BNScale, which need no data."""

from collections import OrderedDict

import pytest
import torch
from conftest import component
from torch import Tensor, nn

from harness.allocation.base import Allocation
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.budget import Goal
from harness.masks import MaskStore
from harness.pruning import Calibration, Pruner
from harness.saliency.apoz import APoZ
from harness.saliency.base import UnitSaliency
from harness.saliency.bn_scale import BNScale
from harness.saliency.fpgm import FPGM
from harness.saliency.hrank import HRank
from harness.saliency.mean_activation import MeanActivation
from harness.saliency.taylor import Taylor
from harness.saliency.taylor_activation import TaylorActivation
from harness.saliency.taylor_unit import TaylorUnit
from harness.structure.base import Structure, Units
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron
from harness.tensors import Batch, Tensors, mean_alone, prunable_weights

FROM_DATA = [TaylorUnit(), TaylorActivation(), MeanActivation(), APoZ(), HRank()]
UNIT = [*FROM_DATA, FPGM(), BNScale()]
IMAGES = torch.zeros(2, 1, 6, 6)


def named(saliency: object) -> str:
    return type(saliency).__name__


def summed(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def network() -> nn.Sequential:
    """5 + 4 filters of 9 and 45 weights, 7 neurons of 16 weights, each layer with a norm."""
    torch.manual_seed(0)
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 5, 3),
        bn1=nn.BatchNorm2d(5),
        relu1=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(5, 4, 3, bias=False),
        bn2=nn.BatchNorm2d(4),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(16, 7),
        bn3=nn.BatchNorm1d(7),
        relu3=nn.ReLU(),
        fc2=nn.Linear(7, 3),
    )
    model = nn.Sequential(layers)
    for norm in (model.bn1, model.bn2, model.bn3):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model


def samples(*sizes: int) -> list[Batch]:
    stream = torch.Generator().manual_seed(3)
    count = sum(sizes)
    xs, ys = torch.randn(count, 1, 6, 6, generator=stream), torch.arange(count) % 3
    return list(zip(xs.split(list(sizes)), ys.split(list(sizes)), strict=True))


def units_of(model: nn.Module) -> Units:
    return {s: along for k in (Filter(), Neuron()) for s, along in k.units(model, IMAGES).items()}


def store_for(model: nn.Module, units: Units) -> MaskStore:
    names = {name for weight, along in units.items() for name in (weight, *along)}
    return MaskStore({name: p for name, p in model.named_parameters() if name in names})


def calibration() -> Calibration:
    return Calibration(samples(4, 2), summed, mean_alone)


@pytest.mark.parametrize("saliency", UNIT, ids=named)
@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()], ids=named)
@pytest.mark.parametrize("keep", [5, 4, 0])
@pytest.mark.parametrize("structure", [Filter(), Neuron()], ids=named)
def test_exactly_as_many_units_stay_as_asked_and_none_comes_back(
    saliency: UnitSaliency, allocation: Allocation, keep: int, structure: Structure
) -> None:
    model = network()
    pruner = Pruner(saliency, structure, allocation)
    units = structure.units(model, IMAGES)
    store = store_for(model, units)
    for count in (6, keep):
        # shrink_to refuses a mask that revives a unit.
        store.shrink_to(
            pruner.decide(model, store, units, Goal(count, "units"), calibration()).masks
        )
        store.apply_to(model)
    kept = {name: store.masks[name].flatten(1).all(1) for name in units}
    assert sum(int(mask.sum()) for mask in kept.values()) == keep
    for name, along in units.items():
        assert torch.equal(store.masks[name].flatten(1).any(1), kept[name])
        assert len(along) >= 2 and all(torch.equal(store.masks[n], kept[name]) for n in along)


@pytest.mark.parametrize("saliency", FROM_DATA, ids=named)
def test_a_pruned_unit_has_no_effect_and_scores_0(saliency: UnitSaliency) -> None:
    model = network()
    units = units_of(model)
    with torch.no_grad():
        for name, along in units.items():
            for parameter in map(model.get_parameter, (name, *along)):
                parameter[1] = 0.0
    scores = saliency.score(
        {name: model.get_parameter(name) for name in units},
        saliency.evidence(model, samples(3), summed, mean_alone, units),
    )
    assert [float(score[1]) for score in scores.values()] == [0.0, 0.0, 0.0]
    assert all(float(score.max()) > 0 for score in scores.values())


@pytest.mark.parametrize("saliency", UNIT, ids=named)
def test_single_weights_are_refused_by_name(saliency: UnitSaliency) -> None:
    with pytest.raises(ValueError, match=f"{named(saliency)} scores whole units.*structure=filter"):
        Pruner(saliency, Element(), Uniform())


def test_taylor_scores_single_weights_and_is_pooled() -> None:
    model = network()
    for structure, size in ((Element(), 25), (Filter("sum"), 25)):
        pruner = Pruner(Taylor(), structure, GlobalRanking())
        units = structure.units(model, IMAGES)
        store = store_for(model, units)
        goal = Goal(size, "weights") if structure == Element() else Goal(3, "units")
        masks = pruner.decide(model, store, units, goal, calibration()).masks
        kept = sum(int(masks[n].sum()) for n in units)
        rows = sum(int(masks[n].flatten(1).any(1).sum()) for n in units)
        assert kept == size if structure == Element() else rows == 3


@pytest.mark.parametrize("saliency", [*UNIT, Taylor()], ids=named)
def test_cuts_into_batches_change_not_one_bit(saliency: UnitSaliency) -> None:
    model = network()
    more = {} if saliency == Taylor() else {"units": units_of(model)}
    one, *others = (
        saliency.evidence(model, samples(*sizes), summed, mean_alone, **more)
        for sizes in ((6,), (4, 2), (1, 5), (1, 1, 1, 1, 1, 1))
    )
    for other in others:
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def recorded(saliency: UnitSaliency, data: list[Batch], calls: list[tuple[Tensors, int]]) -> None:
    def mean(sums: Tensors, count: int) -> Tensors:
        calls.append((sums, count))
        return sums

    model = network()
    more = {} if saliency == Taylor() else {"units": units_of(model)}
    saliency.evidence(model, data, summed, mean, **more)


@pytest.mark.parametrize("saliency", [*UNIT, Taylor()], ids=named)
def test_a_rank_without_samples_asks_for_the_same_means(saliency: UnitSaliency) -> None:
    full: list[tuple[Tensors, int]] = []
    empty: list[tuple[Tensors, int]] = []
    recorded(saliency, samples(4, 2), full)
    recorded(saliency, [], empty)
    forms = [
        [{name: (s.shape, s.dtype) for name, s in sums.items()} for sums, _ in calls]
        for calls in (full, empty)
    ]
    assert forms[0] == forms[1]
    assert len(full) == (0 if saliency in (FPGM(), BNScale()) else 1)
    assert [count for _, count in full] == [6] * len(full)
    assert [count for _, count in empty] == [0] * len(full)
    assert not any(sums[name].any() for sums, _ in empty for name in sums)


@pytest.mark.parametrize("saliency", [*FROM_DATA, Taylor()], ids=named)
def test_sums_of_two_ranks_are_those_of_one(saliency: UnitSaliency) -> None:
    calls: list[tuple[Tensors, int]] = []
    whole, split = samples(6), samples(4, 2)
    for data in (whole, split[:1], split[1:]):
        recorded(saliency, data, calls)
    (alone, six), (first, four), (second, two) = calls
    assert (six, four + two) == (6, 6)
    for name, sums in alone.items():
        torch.testing.assert_close(first[name] + second[name], sums)


@pytest.mark.parametrize("saliency", [*FROM_DATA, Taylor()], ids=named)
def test_no_samples_at_all_are_refused(saliency: UnitSaliency) -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        saliency.evidence(network(), [], summed, mean_alone)


@pytest.mark.parametrize("saliency", UNIT, ids=named)
def test_only_the_weights_that_are_asked_for_are_scored(saliency: UnitSaliency) -> None:
    model = network()
    units = {"conv2.weight": units_of(model)["conv2.weight"]}
    weights = {name: model.get_parameter(name).detach() for name in units}
    scores = saliency.score(
        weights, saliency.evidence(model, samples(3), summed, mean_alone, units)
    )
    assert {name: score.shape for name, score in scores.items()} == {"conv2.weight": (4,)}


@pytest.mark.parametrize("saliency", FROM_DATA, ids=named)
def test_without_units_every_prunable_weight_is_measured(saliency: UnitSaliency) -> None:
    model = network()
    evidence = saliency.evidence(model, samples(3), summed, mean_alone)
    shapes = {name: weight.shape[:1] for name, weight in prunable_weights(model).items()}
    assert {name: value.shape for name, value in evidence.items()} == shapes


# 1, 4 and 5 apart as (1, 0), (1, 4), (4, 0): 4 and 3, 4 and 5, 3 and 5.
TRIANGLE = torch.tensor([[1.0, 0.0], [1.0, 4.0], [4.0, 0.0]])


@pytest.mark.parametrize("shape", [(3, 2), (3, 1, 1, 2), (3, 2, 1)])
def test_fpgm_sums_the_distances_to_all_others(shape: tuple[int, ...]) -> None:
    assert FPGM().score({"w": TRIANGLE.view(shape)}, {})["w"].tolist() == [7.0, 9.0, 8.0]


def test_pruned_filters_have_no_distance() -> None:
    zero = torch.zeros(1, 2)
    rows = torch.cat([zero, TRIANGLE, -zero, zero])
    assert FPGM().score({"w": rows}, {})["w"].tolist() == [0.0, 7.0, 9.0, 8.0, 0.0, 0.0]


@pytest.mark.parametrize("rows", [torch.zeros(3, 2), torch.tensor([[0.0], [2.0], [0.0]])])
def test_no_or_one_living_filter_scores_0(rows: Tensor) -> None:
    assert FPGM().score({"w": rows}, {})["w"].tolist() == [0.0, 0.0, 0.0]


def test_small_distances_of_large_filters_are_not_lost() -> None:
    # 40 filters a step of 1e-6 apart: the first is 0 + 1 + ... + 39 = 780 steps from all.
    rows = 1e4 + 1e-6 * torch.arange(40, dtype=torch.float64).view(40, 1)
    scores = FPGM().score({"w": rows}, {})["w"]
    assert scores[[0, 39]].tolist() == pytest.approx([780e-6] * 2, rel=1e-5)


def test_squares_of_large_weights_do_not_overflow() -> None:
    # 1, 3 and -1: 2 + 2, 2 + 4, 2 + 4.
    rows = torch.tensor([[1e25], [3e25], [-1e25]])
    scores = FPGM().score({"w": rows}, {})["w"]
    torch.testing.assert_close(scores, torch.tensor([4e25, 6e25, 6e25]))


def test_fpgm_needs_no_data() -> None:
    assert FPGM().evidence(network(), [], summed, mean_alone, None) == {}


def test_bn_scale_is_the_absolute_gamma_of_each_layers_norm() -> None:
    model = network()
    with torch.no_grad():
        model.bn2.weight.copy_(torch.tensor([-2.0, 0.5, 0.0, 1.0]))
    units = Filter().units(model, IMAGES)
    evidence = BNScale().evidence(model, [], summed, mean_alone, units)
    scores = BNScale().score({"conv2.weight": torch.empty(0)}, evidence)
    assert evidence["conv2.weight"].tolist() == [-2.0, 0.5, 0.0, 1.0]
    assert {name: score.tolist() for name, score in scores.items()} == {
        "conv2.weight": [2.0, 0.5, 0.0, 1.0]
    }


def test_the_evidence_of_bn_scale_is_a_copy() -> None:
    model = network()
    units = units_of(model)
    evidence = BNScale().evidence(model, [], summed, mean_alone, units)
    before = model.bn1.weight.detach().clone()
    nn.init.zeros_(model.bn1.weight)
    assert torch.equal(evidence["conv1.weight"], before)
    assert not evidence["conv1.weight"].requires_grad


def test_bn_scale_without_units_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match="bn_scale .* use structure=filter or structure=neuron"):
        BNScale().evidence(network(), [], summed, mean_alone)


@pytest.mark.parametrize(
    "norm", [nn.Identity(), nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4)], ids=named
)
def test_bn_scale_refuses_a_layer_without_a_batch_norm_by_name(norm: nn.Module) -> None:
    model = network()
    model.bn2 = norm
    units = Filter().units(model, IMAGES)
    with pytest.raises(ValueError, match="BatchNorm .* conv2 alone feeds.* exclude conv2,"):
        BNScale().evidence(model, [], summed, mean_alone, units)
    rest = {"conv1.weight": units["conv1.weight"]}
    assert list(BNScale().evidence(model, [], summed, mean_alone, rest)) == ["conv1.weight"]


@pytest.mark.parametrize(
    ("name", "saliency"),
    [
        ("taylor", Taylor()),
        ("taylor_unit", TaylorUnit()),
        ("apoz", APoZ()),
        ("fpgm", FPGM()),
        ("bn_scale", BNScale()),
        ("hrank", HRank()),
    ],
)
def test_components_are_built_from_their_files(name: str, saliency: object) -> None:
    assert component("saliency", name) == saliency
