from typing import Any

import pytest
import torch
from conftest import cases
from simulated import (
    Small,
    check_prunes_exactly,
    cross_entropy,
    linear,
    over_ranks,
    rows,
    small_batches,
    total,
)
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.saliency.base import CalibrationData
from harness.saliency.shared import curvature
from harness.saliency.shared.gradient_statistics import sample_gradients
from harness.saliency.woodfisher import WoodFisher
from harness.vocabulary.tensors import Tensors, prunable_weights

HALF = WoodFisher(damping=0.5)


def by_hand() -> Tensors:
    """Returns [[1, 1/2], [1/2, 1/2]], the mean product of gradients (1, 0) and (1, 1).

    With 1/2 on the diagonal F = [[1.5, 0.5], [0.5, 1]], of determinant 1.25 and inverse
    [[0.8, -0.4], [-0.4, 1.2]].
    """
    return HALF.statistics(
        CalibrationData(linear((2.0, 3.0)), [rows((1.0, 0.0), (1.0, 1.0))], total)
    )


def weights(*row: float) -> Tensors:
    return {"weight": torch.tensor([row], dtype=torch.float64)}


def test_statistics_are_the_mean_product_of_gradients_of_single_samples() -> None:
    assert by_hand()["weight"].tolist() == [[[1.0, 0.5], [0.5, 0.5]]]


def test_woodfisher_is_the_squared_weight_over_the_diagonal_of_the_inverse() -> None:
    scores = HALF.score(weights(2.0, 3.0), by_hand())["weight"]
    # 4 / 0.8 and 9 / 1.2.
    torch.testing.assert_close(scores, torch.tensor([[5.0, 7.5]]).double())


def test_a_pruned_weight_is_not_in_the_inverse() -> None:
    # F_LL = 0.5 + 0.5 = 1, so 9 / (1 / 1).
    scores = HALF.score(weights(0.0, 3.0), by_hand())["weight"]
    torch.testing.assert_close(scores, torch.tensor([[0.0, 9.0]]).double())


def test_a_weight_without_any_gradient_still_has_a_score() -> None:
    statistics = {"weight": torch.zeros(1, 2, 2, dtype=torch.float64)}
    # F^-1 = I / damping: w^2 * damping.
    scores = HALF.score(weights(2.0, 4.0), statistics)["weight"]
    torch.testing.assert_close(scores, torch.tensor([[2.0, 8.0]]).double())


def test_the_kept_weight_makes_up_for_the_removed_one() -> None:
    masks = {"weight": torch.tensor([[False, True]])}
    moved = HALF.compensate(weights(2.0, 3.0), masks, by_hand())["weight"]
    # 3 - (-0.4) * 2 / 0.8.
    torch.testing.assert_close(moved, torch.tensor([[0.0, 4.0]]).double())


def test_removals_of_a_block_are_summed_each_as_if_alone() -> None:
    torch.manual_seed(0)
    products = torch.randn(1, 4, 4).double()
    products = products @ products.mT
    weight = torch.randn(2, 2).double()
    mask = torch.tensor([[False, True], [False, True]])
    moved = HALF.compensate({"weight": weight}, {"weight": mask}, {"weight": products})["weight"]
    inverse = (products[0] + 0.5 * torch.eye(4).double()).inverse()
    flat = weight.flatten()
    alone = [flat[q] / inverse[q, q] * inverse[:, q] for q in (0, 2)]
    expected = (flat - alone[0] - alone[1]).view(2, 2)
    torch.testing.assert_close(moved, torch.where(mask, expected, 0.0), rtol=0, atol=1e-12)


def test_weights_pruned_before_neither_move_nor_move_others() -> None:
    torch.manual_seed(1)
    products = torch.randn(1, 3, 3).double()
    products = products @ products.mT
    mask = torch.tensor([[False, False, True]])
    moved = HALF.compensate(weights(0.0, 2.0, 3.0), {"weight": mask}, {"weight": products})
    live = HALF.compensate(
        weights(2.0, 3.0), {"weight": mask[:, 1:]}, {"weight": products[:, 1:, 1:]}
    )
    assert moved["weight"][0, 0] == 0
    torch.testing.assert_close(moved["weight"][:, 1:], live["weight"])


def woodbury(gradients: list[Tensor], damping: float) -> Tensor:
    """F^-1 by the Sherman-Morrison formula, one sample after the other, as the authors have it."""
    inverse = torch.eye(len(gradients[0])).double() / damping
    for gradient in gradients:
        column = inverse @ gradient
        inverse -= torch.outer(column, column) / (len(gradients) + gradient @ column)
    return inverse


@cases("block", 7, 80, 1000)
@cases("piece", 1, 2**22)
def test_blocks_agree_with_the_woodbury_formula(block, piece, monkeypatch) -> None:
    monkeypatch.setattr(curvature, "CHUNK", piece)
    model = Small().double()
    batches = [(inputs.double(), labels) for inputs, labels in small_batches(20)]
    saliency = WoodFisher(block=block, damping=1e-3)
    statistics = saliency.statistics(CalibrationData(model, batches, cross_entropy))
    scores = saliency.score(prunable_weights(model), statistics)
    gradients = list(sample_gradients(CalibrationData(model, batches, cross_entropy)))
    for name, weight in prunable_weights(model).items():
        for start in range(0, weight.numel(), block):
            part = slice(start, start + block)
            inverse = woodbury([one[name].flatten()[part] for one in gradients], 1e-3)
            expected = weight.flatten()[part].square() / (inverse.diagonal() + 1e-10)
            torch.testing.assert_close(scores[name].flatten()[part], expected, rtol=1e-8, atol=0)


def test_weights_stay_where_update_is_off() -> None:
    masks = {"weight": torch.tensor([[False, True]])}
    off = WoodFisher(damping=0.5, update_weights=False)
    assert off.compensate(weights(2.0, 3.0), masks, by_hand()) == {}


def test_tensors_that_lose_nothing_do_not_move() -> None:
    masks = {"weight": torch.tensor([[False, True]])}
    assert HALF.compensate(weights(0.0, 3.0), masks, by_hand()) == {}


def test_the_scores_are_the_same_on_any_number_of_ranks() -> None:
    model, saliency = Small(), WoodFisher()
    whole = saliency.statistics(CalibrationData(model, small_batches(40), cross_entropy))
    parts = over_ranks(
        lambda batches, mean: saliency.statistics(
            CalibrationData(model, batches, cross_entropy, mean)
        ),
        small_batches(40)[:3],
        [],
        small_batches(40)[3:],
    )
    one, two = (saliency.score(prunable_weights(model), seen) for seen in (whole, parts))
    for name, value in one.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=0)


@cases("allocation", Uniform(), GlobalRanking())
@cases("block", 5, 100)
def test_woodfisher_prunes_exactly_and_moves_the_rest(allocation, block) -> None:
    one, *_ = check_prunes_exactly(WoodFisher(block=block), allocation, 150, 71, 1, 0)
    before, kept = prunable_weights(Small())["fc1.weight"], one["fc1.weight"] != 0
    assert not torch.equal(one["fc1.weight"][kept], before[kept])


def test_woodfisher_without_update_prunes_exactly_and_moves_nothing() -> None:
    one, _ = check_prunes_exactly(WoodFisher(update_weights=False), Uniform(), 150, 71)
    for name, weight in prunable_weights(Small()).items():
        assert torch.equal(one[name], torch.where(one[name] != 0, weight, 0.0))


def test_too_much_memory_is_refused_before_the_forward() -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the model was called")

    model = nn.Linear(100, 100)
    model.register_forward_pre_hook(fail)
    # 100 blocks of 100 x 100: 8 * 10^6 bytes, once and in ten copies.
    with pytest.raises(ValueError, match=r"0.088 GB .*weight.* is 0.05; choose a block below 100"):
        WoodFisher(memory_limit_gb=0.05).statistics(
            CalibrationData(model, [(torch.ones(1, 100), torch.zeros(1))], total)
        )


def test_woodfisher_needs_samples() -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        HALF.statistics(CalibrationData(linear((1.0,)), [], total))


@cases(
    "field, value, rule",
    ("block", -1, "block must be a whole number >= 1, got -1"),
    ("damping", 0, "damping must be a number above 0, got 0; F may be singular"),
    ("update_weights", 1, "update_weights must be true or false, got 1"),
    ("memory_limit_gb", -8.0, "memory_limit_gb must be a number above 0 or inf, got -8.0"),
)
def test_a_field_out_of_range_is_refused(field, value, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        WoodFisher(**{field: value})
