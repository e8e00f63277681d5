import math

import pytest
import torch
from torch import Tensor

from harness.vocabulary import topk
from harness.vocabulary.topk import STEP, topk_counts, topk_mask, topk_masks

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
]
MANY = 60_000  # so many that pivots from a sample enclose the threshold


def stable_top(scores: Tensor, keep: int) -> Tensor:
    """Computes the slow truth by a stable sort: of equal scores the first index comes first."""
    order = torch.argsort(scores.flatten().double(), descending=True, stable=True)
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[:keep]] = True
    return mask.view(scores.shape)


def test_highest_scores_stay() -> None:
    scores = torch.tensor([[0.1, 0.4], [0.3, -0.2]])
    assert topk_mask(scores, 2).tolist() == [[False, True], [True, False]]


def test_of_equal_scores_the_first_flat_index_stays() -> None:
    scores = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    assert topk_mask(scores, 3).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("keep", range(11))
def test_all_equal_scores_keep_exactly_the_asked_number(value, keep) -> None:
    assert topk_mask(torch.full((10,), value), keep).nonzero().flatten().tolist() == list(
        range(keep)
    )


def test_minus_zero_ties_with_zero() -> None:
    assert topk_mask(torch.tensor([-0.0, 0.0, -0.0]), 1).tolist() == [True, False, False]


def test_keeping_nothing_and_keeping_everything_work() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0]])
    assert topk_mask(scores, 0).tolist() == [[False, False, False]]
    assert topk_mask(scores, 3).tolist() == [[True, True, True]]
    assert topk_mask(scores, 0).dtype == topk_mask(scores, 3).dtype == torch.bool


def test_nothing_to_choose_from_is_fine_when_nothing_is_asked() -> None:
    assert topk_mask(torch.empty(0, 3), 0).shape == (0, 3)


@pytest.mark.parametrize("keep", [-1, 4])
def test_keeping_more_than_there_is_is_refused(keep) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {keep} of 3 units"):
        topk_mask(torch.ones(3), keep)


@pytest.mark.parametrize("keep", [0, 2, 4])
def test_nan_is_refused_and_counted(keep) -> None:
    with pytest.raises(ValueError, match="2 of 4 scores are NaN"):
        topk_mask(torch.tensor([math.nan, 1.0, math.nan, 0.0]), keep)


def test_dead_units_are_never_chosen_while_living_ones_suffice() -> None:
    scores = torch.tensor([-math.inf, -1e30, -math.inf, -5.0, 0.0])
    for keep, alive in ((1, [4]), (2, [3, 4]), (3, [1, 3, 4])):
        assert topk_mask(scores, keep).nonzero().flatten().tolist() == alive


def test_infinite_scores_stay_first() -> None:
    assert topk_mask(torch.tensor([1.0, math.inf, 2.0, math.inf]), 3).tolist() == [
        False,
        True,
        True,
        True,
    ]


def test_bfloat16_scores_keep_exactly_the_asked_number() -> None:
    # 256 and 257 are the same bfloat16, so the first index decides.
    scores = torch.tensor([257.0, 256.0, 3.0], dtype=torch.bfloat16)
    assert topk_mask(scores, 1).tolist() == [True, False, False]
    many = torch.rand(10_000, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert int(topk_mask(many, 4321).sum()) == 4321


def test_float64_scores_are_not_narrowed() -> None:
    scores = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert topk_mask(scores, 1).tolist() == [False, True]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_choice_equals_a_stable_sort_on_data_full_of_ties(seed, dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (7, 5, 3), generator=random).to(dtype)
    scores[scores == -3] = -math.inf
    for keep in range(0, scores.numel() + 1, 4):
        assert torch.equal(topk_mask(scores, keep), stable_top(scores, keep))


def test_non_contiguous_scores_are_read_in_logical_order() -> None:
    scores = torch.tensor([[1.0, 5.0], [1.0, 1.0]]).t()
    assert topk_mask(scores, 2).tolist() == [[True, False], [True, False]]


def test_scores_are_left_alone() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0])
    topk_mask(scores, 2)
    assert scores.tolist() == [3.0, 1.0, 2.0]


def test_each_tensor_keeps_its_own_number() -> None:
    masks = topk_masks({"a": torch.tensor([1.0, 2.0]), "b": torch.zeros(3)}, {"a": 1, "b": 2})
    assert masks["a"].tolist() == [False, True]
    assert masks["b"].tolist() == [True, True, False]


def test_counts_are_those_of_the_best_of_all_tensors_together() -> None:
    scores = {"a": torch.tensor([9.0, 1.0]), "b": torch.tensor([[8.0], [7.0], [0.0]])}
    assert topk_counts(scores, 3) == {"a": 1, "b": 2}


def test_a_tie_between_tensors_goes_to_the_first_tensor() -> None:
    scores = {"z": torch.ones(2), "a": torch.ones(2)}
    assert topk_counts(scores, 3) == {"z": 2, "a": 1}


@pytest.mark.parametrize("seed", range(8))
def test_counting_and_masking_make_one_choice(seed) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = {
        name: torch.randint(0, 4, shape, generator=random).float()
        for name, shape in (("a", (3, 4)), ("b", (17,)), ("c", (2, 2, 2)))
    }
    together = torch.cat([score.flatten() for score in scores.values()])
    for keep in range(together.numel() + 1):
        masks = topk_masks(scores, topk_counts(scores, keep))
        chosen = torch.cat([mask.flatten() for mask in masks.values()])
        assert torch.equal(chosen, stable_top(together, keep))


def test_tensors_of_unequal_precision_are_compared_in_the_wider_one() -> None:
    scores = {
        "wide": torch.tensor([1.0 + 1e-12], dtype=torch.float64),
        "narrow": torch.tensor([1.0], dtype=torch.bfloat16),
    }
    assert topk_counts(scores, 1) == {"wide": 1, "narrow": 0}


def many(kind: str, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(MANY, generator=random)
    if kind == "tied":
        return (scores * 3).round()
    if kind == "equal":
        return torch.full((MANY,), -2.0)
    if kind == "mostly dead":
        return scores.masked_fill(torch.rand(MANY, generator=random) < 0.9, -math.inf)
    if kind == "mostly zero":
        return scores.clamp(min=0)
    if kind == "heavy tails":
        return (scores * 20).exp()
    if kind == "float64":
        return 1 + scores.double() * 1e-12
    if kind.startswith("sample of the"):
        scores[::STEP] += 100.0 if kind == "sample of the best" else -100.0
    return scores


KINDS = [
    "normal", "tied", "equal", "mostly dead", "mostly zero", "heavy tails", "float64",
    "sample of the best", "sample of the worst",
]  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_choice_among_many_scores_equals_a_stable_sort(kind, device) -> None:
    for seed in range(3):
        scores = many(kind, seed)
        some = torch.randint(MANY, (3,), generator=torch.Generator().manual_seed(seed)).tolist()
        for keep in (1, 2, MANY // 10, MANY // 2, MANY - 1, *some):
            assert torch.equal(topk_mask(scores.to(device), keep).cpu(), stable_top(scores, keep))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_counting_and_masking_make_one_choice_among_many_scores(kind, device) -> None:
    scores = many(kind, 7)
    parts = dict(
        zip("cab", scores.to(device).split([MANY // 2, 100, MANY // 2 - 100]), strict=True)
    )
    for keep in (0, 1, 77, MANY // 10, MANY // 2, MANY - 1, MANY):
        masks = topk_masks(parts, topk_counts(parts, keep))
        chosen = torch.cat([mask.flatten() for mask in masks.values()])
        assert torch.equal(chosen.cpu(), stable_top(scores, keep))


def test_only_a_small_part_of_many_scores_is_partitioned(monkeypatch) -> None:
    sizes, lowest = [], topk._lowest

    def counting(flat: object, index: int) -> float:
        sizes.append(len(flat))  # type: ignore[arg-type]
        return lowest(flat, index)

    monkeypatch.setattr(topk, "_lowest", counting)
    for kind in ("normal", "heavy tails", "float64", "mostly dead"):
        # Also where all that are alive stay.
        for keep in (10, MANY // 20, int((many(kind, 1) > -math.inf).sum())):
            topk_mask(many(kind, 1), min(keep, MANY - 1))
    assert max(sizes) < MANY // 5


def test_all_alive_of_many_are_kept_and_no_dead_one() -> None:
    scores = many("mostly dead", 3)
    alive = scores > -math.inf
    assert torch.equal(topk_mask(scores, int(alive.sum())), alive)


def test_counts_of_no_tensors_are_none() -> None:
    assert topk_counts({}, 0) == {}


@pytest.mark.parametrize("keep", [-1, 6])
def test_counting_more_than_there_is_is_refused(keep) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {keep} of 5 units"):
        topk_counts({"a": torch.ones(2), "b": torch.ones(3)}, keep)


def test_infinite_scores_count_as_best() -> None:
    scores = {"a": torch.tensor([math.inf, 1.0]), "b": torch.tensor([2.0, math.inf])}
    assert topk_counts(scores, 0) == {"a": 0, "b": 0}
    assert topk_counts(scores, 1) == {"a": 1, "b": 0}
    assert topk_counts(scores, 3) == {"a": 1, "b": 2}
