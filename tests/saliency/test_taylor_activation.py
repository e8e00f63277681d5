"""TaylorActivation: means over positions, samples and the norm of a layer."""

import pytest
import torch
from gates import BARE, IMAGES, kernel, line, samples, score
from simulated import cross_entropy
from torch import nn
from units_by_hand import batch

from harness.saliency.base import CalibrationData
from harness.saliency.taylor_activation import TaylorActivation
from harness.vocabulary.tensors import local_mean


def test_taylor_activation_takes_the_mean_over_positions_before_the_absolute_value() -> None:
    # |(3 + 5) / 2| and |(1 - 1) / 2|; the absolute value first would make the second 1.
    assert score(BARE, kernel(), IMAGES)["0.weight"].tolist() == [2.0]


def test_taylor_activation_takes_the_absolute_value_per_sample() -> None:
    scores = score(BARE, line(), batch([[1.0], [-2.0]]))
    assert scores["0.weight"].tolist() == [3.0, 1.5]


def test_the_norm_of_a_layer_is_divided_out() -> None:
    statistics = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([0.0, 0.3, 0.4]) * 1e-30}
    scores = TaylorActivation().score(statistics, statistics)
    torch.testing.assert_close(scores["a"], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(scores["b"], torch.tensor([0.0, 0.6, 0.8]))
    assert torch.equal(BARE.score(statistics, statistics)["a"], statistics["a"])


def test_a_layer_without_any_effect_scores_0_and_not_nan() -> None:
    statistics = {"a": torch.zeros(2)}
    assert TaylorActivation().score(statistics, statistics)["a"].tolist() == [0.0, 0.0]


def test_taylor_activation_is_the_same_behind_relu_and_max_pool() -> None:
    torch.manual_seed(0)
    conv, rest = nn.Conv2d(2, 4, 3).double(), nn.Linear(16, 3).double()
    after = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(conv, after, nn.Flatten(), rest)
    expected = torch.zeros(4, dtype=torch.float64)
    xs, ys = samples()
    for x, y in zip(xs, ys, strict=True):
        pooled = after(conv(x[None])).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(rest(pooled.flatten(1)), y[None]), pooled)
        expected += (pooled * gradient).detach().mean((0, 2, 3)).abs() / len(xs)

    units = {"0.weight": ("0.bias",)}
    one = TaylorActivation()
    statistics = one.statistics(
        CalibrationData(model, [(xs, ys)], cross_entropy, local_mean, units)
    )

    # 16 positions in place of 4.
    torch.testing.assert_close(statistics["0.weight"] * 4, expected)
    torch.testing.assert_close(
        one.score(statistics, statistics)["0.weight"], expected / expected.norm()
    )


def test_a_bad_normalise_is_refused() -> None:
    with pytest.raises(ValueError, match="normalise must be true or false, got 'no'"):
        TaylorActivation("no")
