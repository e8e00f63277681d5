"""Tests what a BatchNorm divides by while `gradient` and `weight_gradient` look at the data."""

import pytest
import torch
from conftest import cases, component
from probes import inputs
from torch import Tensor, nn

import harness
from harness.saliency.base import CalibrationData
from harness.saliency.gradient import Gradient
from harness.saliency.weight_gradient import WeightGradient
from harness.vocabulary.tensors import Tensors, prunable_weights

KINDS = pytest.mark.parametrize("kind", [Gradient, WeightGradient])


def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
    """Returns three times the first output plus the others."""
    return outputs.sum() + 2 * outputs[0].sum()


def normed() -> nn.Module:
    """x -> 5 (2 x); the norm has eps 18 and, unlike its batches, running mean 0, variance 7."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=18.0))
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[1].weight.fill_(5.0)
        model[1].running_var.fill_(7.0)
    return model


def scores(kind: type[Gradient] | type[WeightGradient], mode: str) -> tuple[float, nn.Module]:
    method, model = kind(batch_norm=mode), normed()
    statistics: Tensors = method.statistics(CalibrationData(model, [inputs(-1.0, 1.0)], weighted))
    return method.score(prunable_weights(model), statistics)["0.weight"].item(), model


@KINDS
@cases(
    "mode, gradient",
    # 5 (2 x) / 5 with x = -1 three times and 1 once: d/dw of -10 w / 5 is -2, over 2 samples.
    ("eval", 1.0),
    # The batch -w, w has variance w^2: -10 w / sqrt(w^2 + 18), whose slope at w = 2 is
    # -10 x 18 / 22^1.5, over 2 samples.
    ("train", 90 / 22**1.5),
)
def test_the_mode_decides_what_the_norm_divides_by(kind, mode, gradient) -> None:
    score, _ = scores(kind, mode)
    assert score == pytest.approx(gradient * (2 if kind is WeightGradient else 1), rel=1e-6)


@KINDS
def test_statistics_of_a_norm_that_looked_at_batches_are_put_back(kind) -> None:
    _, model = scores(kind, "train")
    assert model[1].running_mean.item() == 0
    assert model[1].running_var.item() == 7
    assert model[1].num_batches_tracked.item() == 0
    assert model.training


@cases("name, method", ("gradient", Gradient()), ("weight_gradient", WeightGradient()))
def test_the_shipped_configs_use_running_statistics(name, method) -> None:
    assert component("saliency", name) == method
    assert component("saliency", name, batch_norm="train") == type(method)(batch_norm="train")
    assert component("saliency", name).batch_norm == "eval"


@KINDS
def test_an_unknown_mode_is_refused(kind) -> None:
    with pytest.raises(ValueError, match="batch_norm must be eval or train, got 'frozen'"):
        kind(batch_norm="frozen")


@KINDS
def test_complex_weights_are_refused_in_one_line(kind) -> None:
    model = nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64))
    batches = [(torch.ones(3, 2, dtype=torch.complex64), torch.zeros(3, dtype=torch.int64))]
    with pytest.raises(ValueError, match="0.weight is torch.complex64, and gradients rank real"):
        harness.score(model, kind(), batches=batches, loss=lambda out, y: out.abs().sum())
