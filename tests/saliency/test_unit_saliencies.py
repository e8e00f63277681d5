"""Tests what every saliency of units owes the pruner, whether it looks at data or not."""

import pytest
import torch
from simulated import cross_entropy
from unit_network import IMAGES, named, network, samples, units_of

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.apoz import APoZ
from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.bn_scale import BNScale
from harness.saliency.fpgm import FPGM
from harness.saliency.hrank import HRank
from harness.saliency.mean_activation import MeanActivation
from harness.saliency.taylor import Taylor
from harness.saliency.taylor_activation import TaylorActivation
from harness.saliency.taylor_unit import TaylorUnit
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Batch, Tensors, local_mean, prunable_weights

FROM_DATA = [TaylorUnit(), TaylorActivation(), MeanActivation(), APoZ(), HRank()]
UNIT = [*FROM_DATA, FPGM(), BNScale()]


def calibration() -> Calibration:
    return Calibration(samples(4, 2), cross_entropy, local_mean)


@pytest.mark.parametrize("saliency", UNIT, ids=named)
@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()], ids=named)
@pytest.mark.parametrize("keep", [5, 4, 0])
@pytest.mark.parametrize("structure", [Filter(), Neuron()], ids=named)
def test_exactly_as_many_units_stay_as_asked_and_none_comes_back(
    saliency, allocation, keep, structure
) -> None:
    model = network()
    pruner = Pruner(saliency, structure, allocation)
    units = structure.units(model, IMAGES)
    store = make_mask_store(model, units)
    for count in (6, keep):
        # shrink_to refuses a mask that revives a unit.
        store.shrink_to(
            pruner.propose(model, store, units, RequestedSize(count, "units"), calibration()).masks
        )
        store.apply_to(model)
    kept = {name: each.alive(store.masks) for name, each in units.items()}
    assert sum(int(mask.sum()) for mask in kept.values()) == keep
    for name, each in units.items():
        along = each.companions[name]
        assert len(along) >= 2 and all(torch.equal(store.masks[n], kept[name]) for n in along)
        assert not store.masks[name][~kept[name]].any()


@pytest.mark.parametrize("saliency", FROM_DATA, ids=named)
def test_a_pruned_unit_has_no_effect_and_scores_0(saliency) -> None:
    model = network()
    units = units_of(model)
    with torch.no_grad():
        for name, along in units.items():
            for parameter in map(model.get_parameter, (name, *along)):
                parameter[1] = 0.0
    scores = saliency.score(
        {name: model.get_parameter(name) for name in units},
        saliency.statistics(CalibrationData(model, samples(3), cross_entropy, local_mean, units)),
    )
    assert [float(score[1]) for score in scores.values()] == [0.0, 0.0, 0.0]
    assert all(float(score.max()) > 0 for score in scores.values())


@pytest.mark.parametrize("saliency", UNIT, ids=named)
def test_single_weights_are_refused_by_name(saliency) -> None:
    with pytest.raises(
        ValueError, match=f"{named(saliency)} scores whole units.*; use structure=.*filter"
    ):
        Pruner(saliency, Element(), Uniform())


def test_taylor_scores_single_weights_and_is_pooled() -> None:
    model = network()
    for structure, size in ((Element(), 25), (Filter("sum"), 25)):
        pruner = Pruner(Taylor(), structure, GlobalRanking())
        units = structure.units(model, IMAGES)
        store = make_mask_store(model, units)
        goal = (
            RequestedSize(size, "parameters")
            if structure == Element()
            else RequestedSize(3, "units")
        )
        masks = pruner.propose(model, store, units, goal, calibration()).masks
        kept = sum(int(masks[n].sum()) for n in units)
        rows = sum(int(masks[n].flatten(1).any(1).sum()) for n in units)
        assert kept == size if structure == Element() else rows == 3


@pytest.mark.parametrize("saliency", [*UNIT, Taylor()], ids=named)
def test_cuts_into_batches_change_not_one_bit(saliency) -> None:
    model = network()
    more = {} if saliency == Taylor() else {"units": units_of(model)}
    one, *others = (
        saliency.statistics(CalibrationData(model, samples(*sizes), cross_entropy, **more))
        for sizes in ((6,), (4, 2), (1, 5), (1, 1, 1, 1, 1, 1))
    )
    for other in others:
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def recorded(saliency: Saliency, data: list[Batch], calls: list[tuple[Tensors, int]]) -> None:
    def mean(sums: Tensors, count: int) -> Tensors:
        calls.append((sums, count))
        return sums

    model = network()
    more = {} if saliency == Taylor() else {"units": units_of(model)}
    saliency.statistics(CalibrationData(model, data, cross_entropy, mean, **more))


@pytest.mark.parametrize("saliency", [*UNIT, Taylor()], ids=named)
def test_a_rank_without_samples_asks_for_the_same_means(saliency) -> None:
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
def test_sums_of_two_ranks_are_those_of_one(saliency) -> None:
    calls: list[tuple[Tensors, int]] = []
    whole, split = samples(6), samples(4, 2)
    for data in (whole, split[:1], split[1:]):
        recorded(saliency, data, calls)
    (alone, six), (first, four), (second, two) = calls
    assert (six, four + two) == (6, 6)
    for name, sums in alone.items():
        torch.testing.assert_close(first[name] + second[name], sums)


@pytest.mark.parametrize("saliency", [*FROM_DATA, Taylor()], ids=named)
def test_no_samples_at_all_are_refused(saliency) -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        saliency.statistics(CalibrationData(network(), [], cross_entropy))


@pytest.mark.parametrize("saliency", UNIT, ids=named)
def test_only_the_weights_that_are_asked_for_are_scored(saliency) -> None:
    model = network()
    units = {"conv2.weight": units_of(model)["conv2.weight"]}
    weights = {name: model.get_parameter(name).detach() for name in units}
    scores = saliency.score(
        weights,
        saliency.statistics(CalibrationData(model, samples(3), cross_entropy, local_mean, units)),
    )
    assert {name: score.shape for name, score in scores.items()} == {"conv2.weight": (4,)}


@pytest.mark.parametrize("saliency", FROM_DATA, ids=named)
def test_without_units_every_prunable_weight_is_measured(saliency) -> None:
    model = network()
    statistics = saliency.statistics(CalibrationData(model, samples(3), cross_entropy))
    shapes = {name: weight.shape[:1] for name, weight in prunable_weights(model).items()}
    assert {name: value.shape for name, value in statistics.items()} == shapes
