import pytest
import torch
from simulated import Small, check_prunes_exactly, linear, over_ranks, rows, small_batches, total
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.saliency.base import CalibrationData
from harness.saliency.wanda import Wanda, best_of_rows
from harness.vocabulary.tensors import prunable_weights
from harness.vocabulary.topk import topk_mask

UNIT = {"w": torch.ones(1, 3, dtype=torch.float64)}  # inputs of norm 1


def solved(
    weight: list[list[float]], keep: int, per_output: bool = True, alive: Tensor | None = None
) -> list[list[bool]]:
    masks, moved = Wanda(per_output).solve(
        {"w": torch.tensor(weight)}, {"w": keep}, UNIT, None if alive is None else {"w": alive}
    )
    assert moved == {}
    return masks["w"].tolist()


def test_wanda_is_the_absolute_weight_times_the_norm_of_its_input() -> None:
    model = linear((1.0, -2.0), (3.0, 0.5))
    # ||X_j||^2 / n: (16 + 0) / 2 = 8 and (9 + 9) / 2 = 9; norms sqrt(8) and 3.
    statistics = Wanda().statistics(CalibrationData(model, [rows((4.0, 3.0), (0.0, -3.0))], total))
    assert statistics["weight"].tolist() == [[8.0, 9.0]]
    scores = Wanda().score(prunable_weights(model), statistics)["weight"]
    expected = torch.tensor([[8**0.5, 6.0], [3 * 8**0.5, 1.5]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)


def test_the_norm_of_a_grouped_convolution_is_of_its_unfolded_patches() -> None:
    layer = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2).double()
    inputs = torch.randn(3, 4, 5, 5).double()
    statistics = Wanda().statistics(CalibrationData(layer, [(inputs, torch.zeros(3))], total))
    for group in (0, 1):
        part = inputs[:, 2 * group : 2 * group + 2]
        unfolded = nn.functional.unfold(part, 3, stride=2, padding=1)
        norms = (unfolded.square().sum(dim=(0, 2)) / 3).sqrt()
        scores = Wanda().score(prunable_weights(layer), statistics)["weight"]
        mine = slice(2 * group, 2 * group + 2)
        expected = layer.weight[mine].detach().abs() * norms.view(2, 3, 3)
        torch.testing.assert_close(scores[mine], expected, rtol=0, atol=1e-12)


def test_each_output_keeps_its_own_best() -> None:
    mask = solved([[1.0, 2.0, 3.0], [90.0, 80.0, 70.0]], keep=4)
    assert mask == [[False, True, True], [True, True, False]]


def test_all_weights_compete_where_outputs_do_not() -> None:
    mask = solved([[1.0, 2.0, 3.0], [90.0, 80.0, 70.0]], keep=4, per_output=False)
    assert mask == [[False, False, True], [True, True, True]]


def test_the_odd_ones_go_to_the_outputs_with_the_best_next_weight() -> None:
    mask = solved([[1.0, 2.0, 3.0], [9.0, 8.0, 7.0], [3.0, 4.0, 5.0]], keep=5)
    # Two of the three rows keep a second one: 8 and 4 are more than 2.
    assert mask == [[False, False, True], [True, True, False], [False, True, True]]


def test_fewer_than_one_per_output_keep_the_best_of_all() -> None:
    assert solved([[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]], keep=1) == [[False] * 3, [True, False, False]]


def test_outputs_with_fewer_alive_keep_all_of_them_and_the_others_share_the_rest() -> None:
    alive = torch.tensor([[False, False, True], [True, True, True], [True, True, True]])
    # 1 of the first; 4 for the others, two each.
    weight = [[9.0, 9.0, 0.1], [1.0, 2.0, 3.0], [6.0, 5.0, 4.0]]
    mask = solved(weight, keep=5, alive=alive)
    assert mask == [[False, False, True], [False, True, True], [True, True, False]]


def test_weights_of_0_are_dead_unless_masks_say_otherwise() -> None:
    assert solved([[0.0, 0.0, 1.0], [3.0, 4.0, 5.0]], keep=4) == [[False, False, True], [True] * 3]
    everything = torch.ones(2, 3, dtype=torch.bool)
    mask = solved([[0.0, 0.0, 1.0], [3.0, 4.0, 5.0]], keep=4, alive=everything)
    assert mask == [[True, False, True], [False, True, True]]


@pytest.mark.parametrize("per_output", [True, False])
def test_more_than_are_alive_cannot_be_kept(per_output) -> None:
    with pytest.raises(ValueError, match="cannot keep 5 of 4 units"):
        solved([[0.0, 0.0, 1.0], [3.0, 4.0, 5.0]], keep=5, per_output=per_output)


@pytest.mark.parametrize("keep", range(0, 36))
@pytest.mark.parametrize("tied", [True, False])
def test_rows_keep_exactly_the_total_and_differ_by_one_at_most(keep, tied) -> None:
    stream = torch.Generator().manual_seed(keep)
    scores = torch.zeros(5, 7) if tied else torch.rand(5, 7, generator=stream)
    mask = best_of_rows(scores, keep)
    counts = mask.sum(dim=1)
    assert mask.sum() == keep and counts.max() - counts.min() <= 1
    for row, kept in zip(scores, mask, strict=True):
        assert torch.equal(kept, topk_mask(row, int(kept.sum())))


def test_of_equal_scores_in_a_row_the_first_stay() -> None:
    # A sort that is not asked to be stable leaves rows of up to 16 in their order all the same.
    assert best_of_rows(torch.zeros(2, 40), keep=20).nonzero()[:, 1].tolist() == [*range(10)] * 2


def test_the_norms_are_the_same_on_any_number_of_ranks() -> None:
    model = Small()
    whole = Wanda().statistics(CalibrationData(model, small_batches(), total))
    parts = over_ranks(
        lambda batches, mean: Wanda().statistics(CalibrationData(model, batches, total, mean)),
        small_batches()[:1],
        [],
        small_batches()[1:],
    )
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("allocation", [Uniform(), GlobalRanking()])
@pytest.mark.parametrize("per_output", [True, False])
def test_wanda_prunes_exactly_and_moves_nothing(allocation, per_output) -> None:
    one, two, *_ = check_prunes_exactly(Wanda(per_output), allocation, 150, 71, 1, 0)
    before = prunable_weights(Small())
    for name, weight in before.items():
        assert torch.equal(one[name], torch.where(one[name] != 0, weight, 0.0))
        assert torch.equal(two[name], torch.where(two[name] != 0, one[name] * 1.01, 0.0))


def test_per_output_must_be_a_bool() -> None:
    with pytest.raises(ValueError, match="per_output must be true or false, got 'rows'"):
        Wanda("rows")  # type: ignore[arg-type]
