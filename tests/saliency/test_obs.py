"""OBS: scores and moves against least-squares fits of what is left."""

import logging
from typing import Any

import pytest
import torch
from conftest import cases
from simulated import Small, alone_and_shared, check_prunes_exactly, linear, rows, total
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.saliency.base import CalibrationData
from harness.saliency.obs import Obs
from harness.saliency.shared import curvature
from harness.vocabulary.tensors import Tensors, prunable_weights

EXACT = Obs(damping=0.0)
# X X^T of these two samples is [[2, 1], [1, 1]], and so is H = 2/2 X X^T; its inverse is
# [[1, -1], [-1, 2]].
CORRELATED = rows((1.0, 0.0), (1.0, 1.0))


def measured(saliency: Obs, model: nn.Module, inputs: Tensor) -> Tensors:
    return saliency.statistics(CalibrationData(model, [(inputs, torch.zeros(len(inputs)))], total))


def of_weights(weight: list[list[float]], saliency: Obs = EXACT) -> list[list[float]]:
    model = linear(*map(tuple, weight))
    statistics = saliency.statistics(CalibrationData(model, [CORRELATED], total))
    return saliency.score(prunable_weights(model), statistics)["weight"].tolist()


def output_error(inputs: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Returns the squared difference of a linear layer's outputs, per sample, by row."""
    return ((inputs @ (one - other).T).square().sum(dim=0)) / len(inputs)


def test_statistics_are_2_x_xt_per_sample() -> None:
    statistics = EXACT.statistics(CalibrationData(linear((1.0, 1.0)), [CORRELATED], total))
    assert statistics["weight"].tolist() == [[[[2.0, 1.0], [1.0, 1.0]]]]


def test_obs_is_the_squared_weight_over_twice_the_diagonal_of_the_inverse() -> None:
    # 3^2 / (2 * 1) and 4^2 / (2 * 2), of the first row.
    scores = torch.tensor(of_weights([[3.0, 4.0], [1.0, -2.0]]))
    torch.testing.assert_close(scores, torch.tensor([[4.5, 4.0], [0.5, 1.0]]))


def test_a_pruned_weight_is_not_in_the_inverse() -> None:
    # Of H only [[2]] is left in the first row: 3^2 / (2 / 2) ; and [[1]] in the second: 2^2 / 2.
    scores = torch.tensor(of_weights([[3.0, 0.0], [0.0, -2.0]]))
    torch.testing.assert_close(scores, torch.tensor([[9.0, 0.0], [0.0, 2.0]]))


def test_damping_is_a_share_of_the_mean_diagonal() -> None:
    # H + 1/3 * 1.5 I = [[2.5, 1], [1, 1.5]]; its inverse's diagonal is [1.5, 2.5] / 2.75.
    scores = torch.tensor(of_weights([[3.0, 4.0]], Obs(damping=1 / 3)))
    expected = torch.tensor([[9 * 2.75 / 3, 16 * 2.75 / 5]])
    torch.testing.assert_close(scores, expected)


def test_the_kept_weight_makes_up_for_the_removed_one() -> None:
    weights = {"weight": torch.tensor([[3.0, 4.0], [3.0, 4.0]]).double()}
    statistics = EXACT.statistics(CalibrationData(linear((3.0, 4.0)), [CORRELATED], total))
    masks = {"weight": torch.tensor([[True, False], [True, True]])}
    moved = EXACT.compensate(weights, masks, statistics)["weight"]
    # 3 + (1 / 2) * 4; outputs 3 and 7 become 5 and 5: (2^2 + 2^2) / 2 samples = 4, the score.
    torch.testing.assert_close(moved, torch.tensor([[5.0, 0.0], [3.0, 4.0]]).double())
    inputs, _ = CORRELATED
    torch.testing.assert_close(
        output_error(inputs, weights["weight"], moved), torch.tensor([4.0, 0.0]).double()
    )


def test_a_score_is_what_the_best_other_weights_leave_as_output_error() -> None:
    torch.manual_seed(0)
    inputs, weight = torch.randn(30, 6).double(), torch.randn(4, 6).double()
    weight[2, 1] = weight[2, 4] = 0.0  # pruned
    model = linear(*weight.tolist())
    model.weight.data.copy_(weight)
    scores = EXACT.score({"weight": weight}, measured(EXACT, model, inputs))["weight"]
    for row in range(4):
        for gone in weight[row].nonzero().flatten().tolist():
            others = [i for i in range(6) if i != gone and weight[row, i] != 0]
            fit = torch.linalg.lstsq(inputs[:, others], inputs @ weight[row, :, None])
            best = torch.zeros(1, 6).double()
            best[0, others] = fit.solution.flatten()
            error = output_error(inputs, weight[row : row + 1], best)[0]
            torch.testing.assert_close(scores[row, gone], error, rtol=1e-9, atol=0)


@cases("piece", 1, 100, 2**22)
def test_compensation_is_the_least_squares_fit_of_all_removals(piece, monkeypatch) -> None:
    monkeypatch.setattr(curvature, "CHUNK", piece)
    torch.manual_seed(1)
    inputs, weight = torch.randn(30, 6).double(), torch.randn(5, 6).double()
    weight[0, 2] = 0.0
    mask = torch.rand(5, 6) < 0.5
    mask[0, 2] = False
    statistics = measured(EXACT, linear(*weight.tolist()), inputs)
    moved = EXACT.compensate({"weight": weight}, {"weight": mask}, statistics)["weight"]
    for row in range(5):
        kept = mask[row].nonzero().flatten()
        fit = torch.linalg.lstsq(inputs[:, kept], inputs @ weight[row, :, None]).solution
        torch.testing.assert_close(moved[row, kept], fit.flatten(), rtol=0, atol=1e-10)


def test_blocks_do_not_know_of_each_other() -> None:
    torch.manual_seed(2)
    inputs, weight = torch.randn(20, 5).double(), torch.randn(3, 5).double()
    saliency = Obs(block=2, damping=0.0)
    statistics = measured(saliency, linear(*weight.tolist()), inputs)
    assert statistics["weight"].shape == (1, 3, 2, 2)
    scores = saliency.score({"weight": weight}, statistics)["weight"]
    mask = torch.rand(3, 5) < 0.5
    moved = saliency.compensate({"weight": weight}, {"weight": mask}, statistics)["weight"]
    for start in (0, 2, 4):
        part, mine = weight[:, start : start + 2], slice(start, start + 2)
        alone = measured(EXACT, linear(*part.tolist()), inputs[:, mine])
        expected = EXACT.score({"weight": part}, alone)["weight"]
        torch.testing.assert_close(scores[:, mine], expected, rtol=1e-10, atol=0)
        expected = EXACT.compensate({"weight": part}, {"weight": mask[:, mine]}, alone)["weight"]
        torch.testing.assert_close(moved[:, mine], expected, rtol=0, atol=1e-10)


def test_groups_of_a_convolution_are_layers_of_their_own() -> None:
    torch.manual_seed(3)
    whole = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False).double()
    inputs = torch.randn(5, 4, 6, 6).double()
    statistics = measured(Obs(), whole, inputs)
    scores = Obs().score(prunable_weights(whole), statistics)["weight"]
    mask = torch.rand(6, 2, 3, 3) < 0.5
    moved = Obs().compensate(prunable_weights(whole), {"weight": mask}, statistics)["weight"]
    for group in (0, 1):
        part = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False).double()
        mine = slice(3 * group, 3 * group + 3)
        part.weight.data.copy_(whole.weight.data[mine])
        alone = measured(Obs(), part, inputs[:, 2 * group : 2 * group + 2])
        expected = Obs().score(prunable_weights(part), alone)["weight"]
        torch.testing.assert_close(scores[mine], expected, rtol=1e-10, atol=0)
        masks = {"weight": mask[mine]}
        expected = Obs().compensate(prunable_weights(part), masks, alone)["weight"]
        torch.testing.assert_close(moved[mine], expected, rtol=0, atol=1e-10)


def test_an_input_that_is_always_0_has_score_0() -> None:
    model = linear((5.0, 1.0))
    statistics = EXACT.statistics(CalibrationData(model, [rows((0.0, 1.0), (0.0, 2.0))], total))
    # H_22 = 2/2 (1 + 4) = 5; 1^2 * 5 / 2.
    scores = EXACT.score(prunable_weights(model), statistics)["weight"]
    torch.testing.assert_close(scores, torch.tensor([[0.0, 2.5]]).double())


def test_a_singular_hessian_without_damping_is_refused_by_name() -> None:
    model = linear((1.0, 1.0))
    statistics = EXACT.statistics(CalibrationData(model, [rows((1.0, 1.0))], total))
    with pytest.raises(ValueError, match="^weight: its curvature is not positive.*raise damping"):
        EXACT.score(prunable_weights(model), statistics)


def test_tensors_that_lose_nothing_do_not_move() -> None:
    weights = {"weight": torch.tensor([[3.0, 0.0]]).double()}
    statistics = EXACT.statistics(CalibrationData(linear((3.0, 4.0)), [CORRELATED], total))
    masks = {"weight": torch.tensor([[True, False]])}
    assert EXACT.compensate(weights, masks, statistics) == {}


def test_weights_stay_where_update_is_off() -> None:
    weights = {"weight": torch.tensor([[3.0, 4.0]]).double()}
    statistics = EXACT.statistics(CalibrationData(linear((3.0, 4.0)), [CORRELATED], total))
    masks = {"weight": torch.tensor([[True, False]])}
    assert Obs(update_weights=False).compensate(weights, masks, statistics) == {}


def test_compensating_changes_none_of_its_arguments() -> None:
    model = linear((3.0, 4.0))
    statistics = EXACT.statistics(CalibrationData(model, [CORRELATED], total))
    before = statistics["weight"].clone()
    EXACT.compensate(prunable_weights(model), {"weight": torch.tensor([[True, False]])}, statistics)
    assert model.weight.tolist() == [[3.0, 4.0]] and torch.equal(statistics["weight"], before)


def test_the_scores_are_the_same_on_any_number_of_ranks() -> None:
    model, saliency = Small(), Obs()
    weights = prunable_weights(model)
    statistics = alone_and_shared(saliency, model, total)
    one, two = (saliency.score(weights, seen) for seen in statistics)
    for name, value in one.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=0)


@cases("allocation", Uniform(), GlobalRanking())
@cases("block", 4, 128)
def test_obs_prunes_exactly_and_moves_the_rest(allocation, block) -> None:
    one, *_ = check_prunes_exactly(Obs(block=block), allocation, 150, 71, 1, 0)
    before, kept = prunable_weights(Small())["fc1.weight"], one["fc1.weight"] != 0
    assert not torch.equal(one["fc1.weight"][kept], before[kept])


def test_obs_without_update_prunes_exactly_and_moves_nothing() -> None:
    one, _ = check_prunes_exactly(Obs(update_weights=False), Uniform(), 150, 71)
    for name, weight in prunable_weights(Small()).items():
        assert torch.equal(one[name], torch.where(one[name] != 0, weight, 0.0))


def test_the_memory_is_known_before_and_logged(caplog) -> None:
    model = nn.Linear(300, 2)
    with caplog.at_level(logging.INFO):
        Obs(block=100).statistics(
            CalibrationData(model, [(torch.ones(1, 300), torch.zeros(1))], total)
        )
    # Three blocks of 100 x 100 once, and ten copies for both rows: 8 * 30,000 * (1 + 20) bytes.
    assert "saliency obs needs up to 0.00504 GB beside the model" in caplog.text


def test_too_much_memory_is_refused_before_the_forward() -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the model was called")

    model = nn.Linear(300, 2)
    model.register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match=r"0.00504 GB .*weight.* is 0.005; choose a block below"):
        Obs(block=100, memory_limit_gb=0.005).statistics(
            CalibrationData(model, [(torch.ones(1, 300), torch.zeros(1))], total)
        )


@cases(
    "field, value, rule",
    ("block", 0, "block must be a whole number >= 1, got 0"),
    ("block", 2.0, "block must be a whole number >= 1, got 2.0"),
    ("damping", -0.1, "damping must be a number >= 0, got -0.1"),
    ("damping", float("nan"), "damping must be a number >= 0, got nan"),
    ("update_weights", "yes", "update_weights must be true or false, got 'yes'"),
    ("memory_limit_gb", 0, "memory_limit_gb must be a number above 0 or inf, got 0"),
    ("memory_limit_gb", None, "memory_limit_gb must be a number above 0 or inf, got None"),
)
def test_a_field_out_of_range_is_refused(field, value, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        Obs(**{field: value})
