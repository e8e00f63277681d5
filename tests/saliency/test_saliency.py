"""Tests what every saliency owes the pruner, and magnitude, gradients and random scores."""

import copy
from contextlib import suppress

import pytest
import torch
from conftest import every
from left_alone import check_same, snapshot
from probes import Net, batches, inputs, line
from simulated import cross_entropy, total
from torch import Tensor, nn

from harness.pruning.reader import companions_of
from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.bn_scale import BNScale
from harness.saliency.gradient import Gradient
from harness.saliency.magnitude import Magnitude
from harness.saliency.random import Random
from harness.saliency.shared.activations import norms_of
from harness.saliency.shared.gradient_statistics import mean_gradients
from harness.saliency.weight_gradient import WeightGradient
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.vocabulary.tensors import Batch, Loss, Tensors

WEIGHTS = {"layer.weight": torch.tensor([[1.0, -2.0], [3.0, 0.0]])}
STATISTICS = {"layer.weight": torch.tensor([[0.5, 0.5], [-1.0, 9.0]])}


def test_magnitude_is_the_absolute_weight() -> None:
    scores = Magnitude().score(WEIGHTS, {})
    assert scores["layer.weight"].tolist() == [[1.0, 2.0], [3.0, 0.0]]


def test_gradient_is_the_absolute_mean_gradient() -> None:
    scores = Gradient().score(WEIGHTS, STATISTICS)
    assert scores["layer.weight"].tolist() == [[0.5, 0.5], [1.0, 9.0]]


def test_weight_gradient_multiplies_weight_by_mean_gradient() -> None:
    scores = WeightGradient().score(WEIGHTS, STATISTICS)
    assert scores["layer.weight"].tolist() == [[0.5, 1.0], [3.0, 0.0]]


def test_opposite_gradients_of_two_batches_cancel_before_the_absolute_value() -> None:
    statistics = mean_gradients(CalibrationData(line(), [inputs(1.0), inputs(-1.0)], total))
    assert statistics["weight"].tolist() == [[0.0]]
    assert Gradient().score({"weight": line().weight}, statistics)["weight"].tolist() == [[0.0]]


def test_batches_of_unequal_size_weigh_by_their_samples() -> None:
    statistics = mean_gradients(
        CalibrationData(line(), [inputs(1.0, 1.0, 1.0), inputs(5.0)], total)
    )
    # (1 + 1 + 1 + 5) / 4, not (1 + 5) / 2.
    assert statistics["weight"].tolist() == [[2.0]]


def test_mean_is_given_sums_and_the_number_of_samples() -> None:
    asked = []

    def mean(sums: Tensors, samples: int) -> Tensors:
        asked.append((float(sums["weight"]), samples))
        return {"weight": torch.tensor([[42.0]])}

    statistics = mean_gradients(
        CalibrationData(line(), [inputs(1.0, 2.0), inputs(4.0)], total, mean)
    )

    assert asked == [(7.0, 3)]
    assert statistics["weight"].tolist() == [[42.0]]


def test_a_rank_without_samples_still_takes_part_in_the_mean() -> None:
    asked = []

    def mean(sums: Tensors, samples: int) -> Tensors:
        asked.append((sums["weight"].tolist(), samples))
        return sums

    mean_gradients(CalibrationData(line(), [], total, mean))
    assert asked == [([[0.0]], 0)]


def test_no_calibration_samples_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        mean_gradients(CalibrationData(line(), [], total))


def test_gradients_are_taken_in_eval_mode() -> None:
    # In training mode the output of a BatchNorm has mean 0, so this gradient would be 0.
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=0.0))
    statistics = mean_gradients(CalibrationData(model, [inputs(1.0, 3.0)], total))
    assert statistics["0.weight"].tolist() == [[2.0]]


def test_gradients_are_taken_although_the_caller_turned_them_off() -> None:
    with torch.no_grad():
        statistics = mean_gradients(CalibrationData(line(), [inputs(3.0)], total))
    assert statistics["weight"].tolist() == [[3.0]]
    assert not statistics["weight"].requires_grad


def test_the_sum_of_the_split_batches_is_the_whole_batch() -> None:
    model = Net().double()
    (xs, ys), *_ = batches()
    whole = mean_gradients(CalibrationData(model, [(xs.double(), ys)], cross_entropy))
    parts = [(xs[:2].double(), ys[:2]), (xs[2:].double(), ys[2:])]
    cut = mean_gradients(CalibrationData(model, parts, cross_entropy))
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=0, atol=1e-12)


def test_random_scores_follow_from_the_seed_and_the_name_alone() -> None:
    small = {"a": torch.zeros(3, 2)}
    large = {"b": torch.zeros(50), "a": torch.ones(3, 2).double()}
    one, two = Random(seed=5).score(small, {}), Random(seed=5).score(large, {})
    assert torch.equal(one["a"], two["a"])


def test_random_scores_differ_between_seeds_and_tensors() -> None:
    weights = {"a": torch.zeros(40), "b": torch.zeros(40)}
    one, two = Random(seed=0).score(weights, {}), Random(seed=1).score(weights, {})
    assert not (one["a"] == two["a"]).any()
    assert not (one["a"] == one["b"]).any()


def test_random_scores_are_spread_over_0_to_1() -> None:
    scores = Random(seed=0).score({"a": torch.zeros(10_000)}, {})["a"]
    assert 0 <= float(scores.min()) < 0.01 and 0.99 < float(scores.max()) < 1
    assert abs(float(scores.mean()) - 0.5) < 0.02


def units_of(saliency: Saliency, model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Returns the units to score: filters for a saliency that scores whole units."""
    structure = Element() if saliency.granularity == "weight" else Filter()
    sample = batches()[0][0].to(next(model.parameters()).dtype)
    return companions_of(structure.units(model, sample))


def statistics_of(
    saliency: Saliency, model: nn.Module, data: list[Batch], loss: Loss = cross_entropy
) -> Tensors:
    more = {} if saliency.granularity == "weight" else {"units": units_of(saliency, model)}
    return saliency.statistics(CalibrationData(model, data, loss, **more))


def scores_of(saliency: Saliency, model: nn.Module, data: list[Batch]) -> Tensors:
    weights = {name: model.get_parameter(name).detach() for name in units_of(saliency, model)}
    return saliency.score(weights, statistics_of(saliency, model, data))


@every("saliency")
def test_saliency_gives_every_unit_one_finite_score_twice_the_same(saliency) -> None:
    model = Net()
    scores, again = (scores_of(saliency, model, batches()) for _ in range(2))
    units = units_of(saliency, model)
    assert scores.keys() == units.keys() and scores
    for name in units:
        shape = model.get_parameter(name).shape
        # One per row, or one per norm of it.
        norms = norms_of(model, units[name]) if isinstance(saliency, BNScale) else []
        rows = (*shape[:1], len(norms)) if len(norms) > 1 else shape[:1]
        assert scores[name].shape == (shape if saliency.granularity == "weight" else rows)
        assert scores[name].isfinite().all()
        assert not scores[name].requires_grad
        assert torch.equal(scores[name], again[name])


@every("saliency")
def test_saliency_does_not_see_how_the_samples_are_cut_into_batches(saliency) -> None:
    model = Net().double()
    split = [(xs.double(), ys) for xs, ys in batches()]
    joined = [(torch.cat([xs for xs, _ in split]), torch.cat([ys for _, ys in split]))]
    one, two = (scores_of(saliency, model, data) for data in (split, joined))
    for name, scores in one.items():
        torch.testing.assert_close(scores, two[name], rtol=0, atol=1e-9)


@every("saliency")
def test_saliency_leaves_the_model_alone(saliency) -> None:
    model = Net().train()
    model.norm.eval()
    before = snapshot(model)
    weights = {name: model.get_parameter(name).detach() for name in units_of(saliency, model)}
    statistics = statistics_of(saliency, model, batches())
    kept = copy.deepcopy(statistics)
    saliency.score(weights, statistics)
    check_same(snapshot(model), before)
    check_same(statistics, kept)


@every("saliency")
def test_saliency_leaves_the_model_alone_when_the_loss_fails(saliency) -> None:
    model = Net().train()
    model.norm.eval()
    before = snapshot(model)

    def failing(outputs: Tensor, labels: Tensor) -> Tensor:
        raise ZeroDivisionError

    # A saliency that needs no data, or no loss, never meets the error.
    with suppress(ZeroDivisionError):
        statistics_of(saliency, model, batches(), failing)
    check_same(snapshot(model), before)


@every("saliency")
def test_saliency_leaves_the_model_alone_when_the_model_fails(saliency) -> None:
    model = Net().train()
    before = snapshot(model)
    units = units_of(saliency, model)
    more = {} if saliency.granularity == "weight" else {"units": units}
    wrong: list[Batch] = [(torch.zeros(2, 1, 9, 9), torch.zeros(2, dtype=torch.int64))]
    with suppress(RuntimeError):
        saliency.statistics(CalibrationData(model, wrong, cross_entropy, **more))
    check_same(snapshot(model), before)


@every("saliency")
def test_saliency_scores_frozen_weights_as_any_other(saliency) -> None:
    free, frozen = Net(), Net().requires_grad_(False)
    one, other = (scores_of(saliency, model, batches()) for model in (free, frozen))
    assert all(torch.equal(one[name], other[name]) for name in one)


@every("saliency")
def test_saliency_says_what_it_scores(saliency) -> None:
    assert saliency.granularity in ("weight", "unit")
