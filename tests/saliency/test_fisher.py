import pytest
import torch
from simulated import Small, cross_entropy, linear, over_ranks, rows, small_batches, total
from torch import nn

from harness.saliency.base import CalibrationData
from harness.saliency.fisher import Fisher
from harness.vocabulary.tensors import prunable_weights


def test_fisher_is_half_the_squared_weight_times_the_mean_squared_gradient() -> None:
    model = linear((2.0, -3.0))
    # Gradients of the outputs are the inputs: (1 + 9) / 2 = 5 and (4 + 16) / 2 = 10.
    statistics = Fisher().statistics(CalibrationData(model, [rows((1.0, 2.0), (-3.0, 4.0))], total))
    assert statistics["weight"].tolist() == [[5.0, 10.0]]
    # 4 * 5 / 2 and 9 * 10 / 2.
    scores = Fisher().score(prunable_weights(model), statistics)
    assert scores["weight"].tolist() == [[10.0, 45.0]]


def test_opposite_gradients_do_not_cancel() -> None:
    statistics = Fisher().statistics(
        CalibrationData(linear((1.0,)), [rows((1.0,), (-1.0,))], total)
    )
    assert statistics["weight"].tolist() == [[1.0]]


def test_fisher_agrees_with_the_gradients_of_single_samples() -> None:
    model = Small().double()
    batches = [(inputs.double(), labels) for inputs, labels in small_batches()]
    expected = {name: torch.zeros_like(w) for name, w in prunable_weights(model).items()}
    for inputs, labels in batches:
        for one in range(len(labels)):
            model.zero_grad()
            nn.functional.cross_entropy(model(inputs[[one]]), labels[[one]]).backward()
            for name, value in expected.items():
                value += model.get_parameter(name).grad.square() / 12
    statistics = Fisher().statistics(CalibrationData(model, batches, cross_entropy))
    for name, value in expected.items():
        torch.testing.assert_close(statistics[name], value, rtol=1e-10, atol=0)


def test_fisher_is_the_same_on_any_number_of_ranks() -> None:
    model = Small()
    whole = Fisher().statistics(CalibrationData(model, small_batches(), cross_entropy))
    parts = over_ranks(
        lambda batches, mean: Fisher().statistics(
            CalibrationData(model, batches, cross_entropy, mean)
        ),
        small_batches()[:1],
        [],
        small_batches()[1:],
    )
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-12)


def test_squares_of_half_precision_gradients_do_not_underflow() -> None:
    model = linear((1.0,)).half()
    batch = (torch.full((1, 1), 2.0**-14, dtype=torch.float16), torch.zeros(1))
    statistics = Fisher().statistics(CalibrationData(model, [batch], total))
    assert statistics["weight"].tolist() == [[2.0**-28]]


def test_fisher_needs_samples() -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        Fisher().statistics(CalibrationData(linear((1.0,)), [], total))
