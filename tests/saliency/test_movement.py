import pytest
import torch
from left_alone import check_same, snapshot
from lockstep import cut, on_ranks
from probes import Net, batches, check_close, data, inputs, smooth
from simulated import cross_entropy, squared
from torch import Tensor, nn

from harness.saliency.base import CalibrationData
from harness.saliency.movement import Movement
from harness.vocabulary.tensors import Batch, prunable_weights


def line(*weights: float) -> nn.Linear:
    model = nn.Linear(len(weights), 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([weights]))
    return model


def pair(*rows: tuple[float, float]) -> Batch:
    return torch.tensor(rows, dtype=torch.float64), torch.zeros(len(rows), dtype=torch.int64)


def to_three(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - 3).square().sum() / 2


def test_two_steps_of_one_weight_by_hand() -> None:
    # The loss is (w x)^2 / 2 for x = 1 and 3, so the mean gradient is w (1 + 9) / 2 = 5 w.
    # w = 2: g = 10, S = -0.1 x 10 x 2 = -2, w = 1; g = 5, S = -2 - 0.1 x 5 x 1 = -2.5.
    (xs, ys) = inputs(1.0, 3.0)
    statistics = Movement(steps=2, lr=0.1).statistics(
        CalibrationData(line(2.0), [(xs.double(), ys)], squared)
    )
    assert statistics["weight"].tolist() == [[pytest.approx(-2.5, abs=1e-12)]]


def test_a_weight_that_grows_outranks_a_larger_one_that_shrinks() -> None:
    # Output of x = (1, 1), w = (1, -4): -3, the target is 3: g = (-6, -6).
    # S = 0.1 x 6 x (1, -4) = (0.6, -2.4): not |S|, which would rank them the other way.
    method, model = Movement(steps=1), line(1.0, -4.0)
    statistics = method.statistics(CalibrationData(model, [pair((1.0, 1.0))], to_three))
    scores = method.score(prunable_weights(model), statistics)["weight"]
    assert scores.tolist() == [[pytest.approx(0.6), pytest.approx(-2.4)]]


def test_a_pruned_weight_stays_where_it_is() -> None:
    # w = (1, 0), target 3: g = -2, S = 0.1 x 2 x 1 = 0.2, w = (1.2, 0); g = -1.8,
    # S = 0.2 + 0.1 x 1.8 x 1.2 = 0.416. Had the second weight moved to 0.2: 0.2 + 0.192.
    statistics = Movement(steps=2).statistics(
        CalibrationData(line(1.0, 0.0), [pair((1.0, 1.0))], to_three)
    )
    assert statistics["weight"].tolist() == [[pytest.approx(0.416), 0.0]]


def test_biases_do_not_move() -> None:
    # As above with a bias of 0 in place of the pruned weight.
    model = nn.Linear(1, 1).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    xs, ys = inputs(1.0)
    statistics = Movement(steps=2).statistics(CalibrationData(model, [(xs.double(), ys)], to_three))
    assert statistics["weight"].tolist() == [[pytest.approx(0.416)]]


def test_the_sum_is_that_of_plain_gradient_descent() -> None:
    model, own, (xs, ys) = smooth(), smooth(), data()
    weights = [own[0].weight, own[2].weight]
    descent = torch.optim.SGD(weights, lr=0.5)
    expected = [torch.zeros_like(weight) for weight in weights]
    for _ in range(7):
        descent.zero_grad()
        (cross_entropy(own(xs), ys) / len(ys)).backward()
        for total, weight in zip(expected, weights, strict=True):
            total -= 0.5 * weight.grad * weight.detach()
        descent.step()

    statistics = Movement(steps=7, lr=0.5).statistics(
        CalibrationData(model, cut(data(), 4, 2), cross_entropy)
    )

    check_close(statistics, dict(zip(("0.weight", "2.weight"), expected, strict=True)))
    assert any((score < 0).any() and (score > 0).any() for score in statistics.values())


@pytest.mark.parametrize("sizes", [(6,), (3, 3), (4, 2, 0), (0, 6)])
def test_ranks_and_cuts_change_nothing(sizes) -> None:
    alone = Movement(steps=3).statistics(CalibrationData(smooth(), [data()], cross_entropy))
    shares = [[part] if len(part[1]) else [] for part in cut(data(), *sizes)]
    for statistics in on_ranks(Movement(steps=3), smooth(), shares, cross_entropy):
        check_close(statistics, alone)


def test_frozen_weights_are_scored_as_any_other() -> None:
    free, frozen = Net(), Net()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    one, other = (
        Movement().statistics(CalibrationData(m, batches(), cross_entropy)) for m in (free, frozen)
    )
    check_close(one, other, rtol=0)


def test_the_model_itself_does_not_move() -> None:
    model = Net().train()
    before = snapshot(model)
    Movement().statistics(CalibrationData(model, batches(), cross_entropy))
    check_same(snapshot(model), before)


def test_no_calibration_samples_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="no calibration samples [^;]*; ask for at least 1$"):
        Movement().statistics(CalibrationData(smooth(), [], cross_entropy))


def test_steps_that_diverge_are_refused_with_the_way_out() -> None:
    # The loss (w x)^2 / 2 of x = 1e100: w = 1, then -1e200 x lr, whose gradient is 1e400.
    (xs, ys) = inputs(1.0)
    with pytest.raises(ValueError, match="gradient of weight .* after 1 steps of lr=0.1: lower lr"):
        Movement().statistics(CalibrationData(line(1.0), [(xs.double() * 1e100, ys)], squared))


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, "10"])
def test_steps_must_be_a_whole_number(steps) -> None:
    with pytest.raises(ValueError, match=r"steps must be a whole number in \[1, 1000000\], got"):
        Movement(steps=steps)


@pytest.mark.parametrize("lr", [0, -0.1, float("inf"), float("nan"), True, "fast"])
def test_a_step_must_have_a_size(lr) -> None:
    with pytest.raises(ValueError, match="lr must be a number above 0"):
        Movement(lr=lr)
