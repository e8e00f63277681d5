from typing import Any

import pytest
import torch
from simulated import Small, check_prunes_exactly, linear, over_ranks, rows, small_batches, total
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.pruning.pruner import Pruner
from harness.saliency.base import CalibrationData
from harness.saliency.sparsegpt import SparseGpt
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import prunable_weights

# H of two inputs, as [groups, 1, columns, columns]. Its inverse is [[1, -1], [-1, 2]], and that
# of its last column alone 1: U = [[1, -1], [0, 1]].
HESSIAN = {"w": torch.tensor([[[[2.0, 1.0], [1.0, 1.0]]]]).double()}


def solved(
    weight: list[list[float]], keep: int, saliency: SparseGpt, alive: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    weights = {"w": torch.tensor(weight).double()}
    living = None if alive is None else {"w": alive}
    masks, moved = saliency.solve(weights, {"w": keep}, HESSIAN, living)
    return masks["w"], moved.get("w")


def test_statistics_are_2_x_xt_per_sample() -> None:
    statistics = SparseGpt().statistics(
        CalibrationData(linear((1.0, 1.0)), [rows((1.0, 0.0), (1.0, 1.0))], total)
    )
    assert statistics["weight"].tolist() == [[[[2.0, 1.0], [1.0, 1.0]]]]


def test_the_score_is_the_squared_weight_over_the_squared_factor() -> None:
    hessian = {"w": torch.tensor([[[[4.0, 2.0], [2.0, 2.0]]]]).double()}
    # The inverse is [[1/2, -1/2], [-1/2, 1]]: U_11^2 = 1/2, and U_22^2 = 1 / H_22 = 1/2.
    weights = {"w": torch.tensor([[3.0, 1.0]]).double()}
    scores = SparseGpt(damping=0.0).score(weights, hessian)["w"]
    torch.testing.assert_close(scores, torch.tensor([[18.0, 2.0]]).double())


def test_damping_is_a_share_of_the_mean_diagonal() -> None:
    hessian = {"w": torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]]]).double()}
    weights = {"w": torch.tensor([[1.0, 1.0]]).double()}
    # 1 / U_ii^2 of a diagonal H is H_ii, here with half of (3 + 1) / 2 = 2 added.
    scores = SparseGpt(damping=0.5).score(weights, hessian)["w"]
    torch.testing.assert_close(scores, torch.tensor([[4.0, 2.0]]).double())


def test_a_removed_weight_moves_those_to_its_right() -> None:
    # In one block, scores are the squares: 9 and 16 stay of 1 and 2, 3 and 4.
    mask, moved = solved([[1.0, 4.0], [3.0, 2.0]], 2, SparseGpt(damping=0.0))
    assert mask.tolist() == [[False, True], [True, False]]
    # 4 - 1 * U_12 / U_11 = 4 + 1; nothing is right of the 2.
    torch.testing.assert_close(moved, torch.tensor([[0.0, 5.0], [3.0, 0.0]]).double())


def test_a_later_block_chooses_among_moved_weights() -> None:
    # In the first column 3 stays; the removed 1 makes 2 a 3, which is more than 2.5.
    mask, moved = solved([[3.0, 2.5], [1.0, 2.0]], 2, SparseGpt(block=1, damping=0.0))
    assert mask.tolist() == [[True, False], [False, True]]
    torch.testing.assert_close(moved, torch.tensor([[3.0, 0.0], [0.0, 3.0]]).double())


def test_without_update_a_later_block_chooses_among_the_weights_as_they_are() -> None:
    saliency = SparseGpt(block=1, damping=0.0, update_weights=False)
    mask, moved = solved([[3.0, 2.5], [1.0, 2.0]], 2, saliency)
    assert mask.tolist() == [[True, True], [False, False]]
    assert moved is None


def reference(weight: Tensor, hessian: Tensor, keeps: list[int], block: int) -> Tensor:
    """Prunes column by column with the inverse of what is left of H, as the paper derives it."""
    weight = weight.clone()
    columns = weight.shape[1]
    hessian = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(columns).double()
    inverses = [hessian[i:, i:].inverse() for i in range(columns)]
    for start, keep in zip(range(0, columns, block), keeps, strict=True):
        part = range(start, min(start + block, columns))
        scores = torch.stack([weight[:, i].square() / inverses[i][0, 0] for i in part], dim=1)
        lowest = scores.flatten().argsort()[: scores.numel() - keep]
        for i in part:
            for row in range(len(weight)):
                if row * len(part) + i - start in lowest:
                    ratio = weight[row, i] / inverses[i][0, 0]
                    weight[row, i:] -= ratio * inverses[i][0]
                    weight[row, i] = 0.0
    return weight


@pytest.mark.parametrize(("block", "keeps"), [(3, [8, 8, 3]), (100, [19]), (7, [19])])
def test_solving_agrees_with_the_inverse_of_what_is_left(block, keeps) -> None:
    torch.manual_seed(0)
    weight, inputs = torch.randn(5, 7).double(), torch.randn(50, 7).double()
    statistics = SparseGpt().statistics(
        CalibrationData(linear(*weight.tolist()), [(inputs, torch.zeros(50))], total)
    )
    # 19 of 35 in blocks of 15, 15 and 5: floor(19 * 15 / 35) = 8, floor(19 * 30 / 35) = 16.
    masks, moved = SparseGpt(block=block).solve({"weight": weight}, {"weight": 19}, statistics)
    expected = reference(weight, 2 / 50 * inputs.T @ inputs, keeps, block)
    assert torch.equal(masks["weight"], expected != 0)
    torch.testing.assert_close(moved["weight"], expected, rtol=0, atol=1e-10)


def test_solving_leaves_less_output_error_than_removing_the_smallest() -> None:
    torch.manual_seed(1)
    weight = torch.randn(8, 10).double()
    inputs = torch.randn(60, 10).double() @ torch.randn(10, 10).double()
    statistics = SparseGpt().statistics(
        CalibrationData(linear(*weight.tolist()), [(inputs, torch.zeros(60))], total)
    )
    _, moved = SparseGpt().solve({"weight": weight}, {"weight": 40}, statistics)
    smallest = torch.where(weight.abs() >= weight.abs().flatten().kthvalue(41).values, weight, 0.0)
    errors = [(inputs @ (weight - other).T).square().sum() for other in (moved["weight"], smallest)]
    assert errors[0] < errors[1] / 2


def test_groups_of_a_convolution_push_within_themselves() -> None:
    torch.manual_seed(2)
    layer = nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False).double()
    inputs = torch.randn(9, 4, 5, 5).double()
    statistics = SparseGpt().statistics(CalibrationData(layer, [(inputs, torch.zeros(9))], total))
    weights = prunable_weights(layer)
    masks, moved = SparseGpt().solve(weights, {"weight": 50}, statistics)
    assert masks["weight"].sum() == 50
    for group in (0, 1):
        mine = slice(3 * group, 3 * group + 3)
        part = weights["weight"][mine].flatten(1)
        kept = int(masks["weight"][mine].sum())
        expected = reference(part, statistics["weight"][group, 0], [kept], 18)
        torch.testing.assert_close(moved["weight"][mine].flatten(1), expected, rtol=0, atol=1e-10)


def test_weights_pruned_before_stay_pruned_and_pass_on_what_they_are_given() -> None:
    torch.manual_seed(3)
    weight, inputs = torch.randn(1, 4).double(), torch.randn(50, 4).double()
    weight[0, 1] = 0.0
    statistics = SparseGpt().statistics(
        CalibrationData(linear(*weight.tolist()), [(inputs, torch.zeros(50))], total)
    )
    masks, moved = SparseGpt().solve({"weight": weight}, {"weight": 2}, statistics)
    assert not masks["weight"][0, 1] and masks["weight"].sum() == 2
    expected = reference(weight, 2 / 50 * inputs.T @ inputs, [2], 4)
    torch.testing.assert_close(moved["weight"], expected, rtol=0, atol=1e-10)


def test_masks_in_force_decide_what_is_alive() -> None:
    alive = torch.tensor([[True, True], [False, True]])
    mask, _ = solved([[0.0, 1.0], [9.0, 2.0]], 3, SparseGpt(), alive)
    assert torch.equal(mask, alive)


def test_more_than_are_alive_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="cannot keep 4 of 3 units"):
        solved([[0.0, 1.0], [9.0, 2.0]], 4, SparseGpt())


@pytest.mark.parametrize("keep", range(0, 22))
@pytest.mark.parametrize("block", [1, 2, 3, 128])
def test_exactly_so_many_are_kept_also_of_equal_and_of_dead_weights(keep, block) -> None:
    weights = {"w": torch.ones(4, 7)}
    weights["w"][:, 2] = weights["w"][1, 4:] = 0.0
    statistics = {"w": torch.eye(7).double().view(1, 1, 7, 7)}
    masks, moved = SparseGpt(block=block).solve(weights, {"w": keep}, statistics)
    assert masks["w"].sum() == keep and not (masks["w"] & (weights["w"] == 0)).any()
    # No input says anything of another: what is kept stays as it was.
    assert torch.equal(moved["w"], masks["w"].float())


def test_weights_of_inputs_that_are_always_0_go_first_and_keep_their_values() -> None:
    model = linear((9.0, 1.0, 2.0), (8.0, 3.0, 4.0))
    statistics = SparseGpt().statistics(
        CalibrationData(model, [rows((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))], total)
    )
    weights = prunable_weights(model)
    assert SparseGpt().score(weights, statistics)["weight"][:, 0].tolist() == [0.0, 0.0]
    masks, moved = SparseGpt().solve(weights, {"weight": 5}, statistics)
    assert masks["weight"].tolist() == [[True, True, True], [False, True, True]]
    assert moved["weight"].tolist() == [[9.0, 1.0, 2.0], [0.0, 3.0, 4.0]]


def test_solving_changes_none_of_its_arguments() -> None:
    weights, before = {"w": torch.tensor([[1.0, 4.0]])}, HESSIAN["w"].clone()
    _, moved = SparseGpt().solve(weights, {"w": 2}, HESSIAN)
    assert moved["w"].data_ptr() != weights["w"].data_ptr() and moved["w"].is_contiguous()
    SparseGpt().solve(weights, {"w": 1}, HESSIAN)
    assert weights["w"].tolist() == [[1.0, 4.0]] and torch.equal(HESSIAN["w"], before)


def test_the_result_is_the_same_on_any_number_of_ranks() -> None:
    model, saliency = Small(), SparseGpt()
    weights = prunable_weights(model)
    whole = saliency.statistics(CalibrationData(model, small_batches(), total))
    parts = over_ranks(
        lambda batches, mean: saliency.statistics(CalibrationData(model, batches, total, mean)),
        small_batches()[:1],
        [],
        small_batches()[1:],
    )
    keep = {name: weight.numel() // 2 for name, weight in weights.items()}
    (one, moved), (two, other) = (saliency.solve(weights, keep, seen) for seen in (whole, parts))
    for name in weights:
        assert torch.equal(one[name], two[name])
        assert moved[name].dtype == torch.float32
        torch.testing.assert_close(moved[name], other[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()])
@pytest.mark.parametrize("block", [3, 128])
def test_sparsegpt_prunes_exactly_and_moves_the_rest(allocation, block) -> None:
    one, *_ = check_prunes_exactly(SparseGpt(block=block), allocation, 150, 71, 1, 0)
    before, kept = prunable_weights(Small())["fc1.weight"], one["fc1.weight"] != 0
    assert not torch.equal(one["fc1.weight"][kept], before[kept])


def test_sparsegpt_without_update_prunes_exactly_and_moves_nothing() -> None:
    one, _ = check_prunes_exactly(SparseGpt(update_weights=False), Uniform(), 150, 71)
    for name, weight in prunable_weights(Small()).items():
        assert torch.equal(one[name], torch.where(one[name] != 0, weight, 0.0))


def test_structures_of_more_than_one_weight_pool_the_scores() -> None:
    assert Pruner(SparseGpt(), Neuron(), Uniform())._solve is None


def test_too_much_memory_is_refused_before_the_forward() -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the model was called")

    model = nn.Sequential(nn.Linear(100, 200), nn.Linear(200, 2))
    model.register_forward_pre_hook(fail)
    # 100^2 + 200^2 entries, and ten copies of the larger: 8 * (50,000 + 400,000) bytes.
    with pytest.raises(ValueError, match=r"0.0036 GB .*1.weight.* is 0.002; use saliency=obs"):
        SparseGpt(memory_limit_gb=0.002).statistics(
            CalibrationData(model, [(torch.ones(1, 100), torch.zeros(1))], total)
        )


def test_a_field_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="block must be a whole number >= 1, got 0"):
        SparseGpt(block=0)
