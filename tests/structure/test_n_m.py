"""Tests n:m: which weights of each group stay, by hand and against a plain loop."""

import pytest
import torch
from conftest import every
from divisible_network import both
from torch import Tensor, nn

import harness
from harness.structure.n_m import NM
from harness.vocabulary.n_of_m import NOfM

PAIRS = [(2, 4), (1, 4), (4, 8), (3, 5), (1, 2), (9, 20)]


def in_order(weight: Tensor) -> Tensor:
    """Returns (out, positions, in): for each output and kernel position all input channels."""
    return torch.stack([w.flatten(1).T for w in weight.unbind()]) if weight.dim() > 2 else weight


def groups_of(weight: Tensor, m: int) -> list[list[float]]:
    rows = in_order(weight).flatten(0, -2).tolist() if weight.dim() > 2 else weight.tolist()
    return [row[start : start + m] for row in rows for start in range(0, len(row), m)]


def best(group: list[float], n: int) -> list[bool]:
    """Returns True at the n largest; of equal ones those that come first."""
    order = sorted(range(len(group)), key=lambda place: (-group[place], place))
    return [place in order[:n] for place in range(len(group))]


@pytest.mark.parametrize(("n", "m"), PAIRS)
@pytest.mark.parametrize("shape", [(6, 0), (3, 0, 2, 3), (4, 0, 3)], ids=str)
@pytest.mark.parametrize("levels", [4, 10**6], ids=["ties", "distinct"])
def test_the_n_largest_of_each_group_stay_as_in_a_plain_loop(n, m, shape, levels) -> None:
    stream = torch.Generator().manual_seed(m)
    scores = torch.randint(levels, (shape[0], 2 * m, *shape[2:]), generator=stream).float()
    mask = NM(n, m).select(scores, scores.numel() // m * n)
    expected = [best(group, n) for group in groups_of(scores, m)]
    assert groups_of(mask, m) == expected and int(mask.sum()) == n * len(expected)


def test_a_convolution_has_its_groups_along_the_channels_of_one_position() -> None:
    # One output, 4 channels, a kernel of 1 x 2: position 0 has 1 9 3 4, position 1 has 8 2 7 6.
    scores = torch.tensor([[[[1.0, 8.0]], [[9.0, 2.0]], [[3.0, 7.0]], [[4.0, 6.0]]]])
    mask = NM(2, 4).select(scores, 4)
    assert mask[0, :, 0].int().tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert NOfM(2, 4).columns((1, 4, 1, 2)).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_of_equal_scores_the_lower_index_stays() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 2.0, 2.0]])
    assert NM(2, 4).select(scores, 4).int().tolist() == [[1, 1, 0, 0, 0, 1, 1, 0]]


def test_between_two_whole_numbers_the_best_next_scores_stay() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 6.0, 5.0]])
    assert NM(2, 4).select(scores, 5).int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert NM(2, 4).select(scores, 8).all() and not NM(2, 4).select(scores, 0).any()


def test_pruned_weights_do_not_return_and_their_place_stays_empty() -> None:
    scores = torch.tensor([[4.0, -torch.inf, -torch.inf, -torch.inf], [8.0, 7.0, 6.0, 5.0]])
    assert NM(2, 4).select(scores, 4).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]


def test_scores_of_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 4 scores are NaN"):
        NM(2, 4).select(torch.tensor([[1.0, torch.nan, 2.0, 3.0]]), 2)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4)])
def test_a_call_needs_no_density_and_zeroes_the_others(n, m) -> None:
    model = both()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masks = harness.prune(model, structure=NM(n, m), exclude=[])
    assert list(masks) == ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    for name, mask in masks.items():
        expected = [best(group, n) for group in groups_of(before[name].abs(), m)]
        assert groups_of(mask, m) == expected
        assert torch.equal(model.get_parameter(name), before[name] * mask)
    again = harness.prune(model, n / m, structure=NM(n, m), masks=masks)
    assert all(torch.equal(again[name], mask) for name, mask in masks.items())


@every("saliency")
def test_every_saliency_of_weights_keeps_n_of_m(saliency) -> None:
    stream = torch.Generator().manual_seed(0)
    data = [(torch.randn(16, 4, 8, 8, generator=stream), torch.arange(16) % 4)]
    call = {"saliency": saliency, "structure": NM(1, 4), "batches": data, "rounds": 2}
    if saliency.granularity == "unit":
        with pytest.raises(ValueError, match="scores whole units, but structure NM prunes single"):
            harness.prune(both(), **call)
        return
    model = both()
    masks = harness.prune(model, **call)
    assert all(sum(group) == 1 for mask in masks.values() for group in groups_of(mask, 4))
    assert all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())


def test_rounds_pass_through_more_of_m() -> None:
    model, seen = both(), []

    class Watching(NM):
        def select(self, scores: Tensor, keep: int) -> Tensor:
            mask = super().select(scores, keep)
            seen.append({sum(group) for group in groups_of(mask, 4)})
            return mask

    harness.prune(model, structure=Watching(1, 4), rounds=3, exclude=["fc1", "fc2", "conv2"])
    assert [max(counts) for counts in seen] == [3, 2, 1] and seen[-1] == {1}


def test_masks_of_single_weights_are_thinned_to_n_of_m() -> None:
    model = both()
    masks = harness.prune(model, 0.5)
    thinner = harness.prune(model, structure=NM(2, 4), masks=masks)
    for name, mask in thinner.items():
        assert not bool((mask & ~masks[name]).any())
        assert max(sum(group) for group in groups_of(mask, 4)) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"density": 0.3}, "density=0.3: n=2 of m=4 keep a density of 0.5 in each layer; leave"),
        ({"keep": 8}, "keep=8: n=2 of m=4 keep a density of 0.5 in each layer; leave keep out"),
        ({"allocation": "erk"}, "allocation Erk gives layers densities of their own, but .* NM"),
        ({"structure": NM(2, 3)}, r"structure.m=3 does not divide the 4 inputs of conv1; .*conv2,"),
    ],
)
def test_what_does_not_fit_is_refused(more, message) -> None:
    with pytest.raises(ValueError, match=message):
        harness.prune(both(), **{"structure": "n_m", **more})


@pytest.mark.parametrize(
    ("n", "m", "message"),
    [
        (4, 4, "n must be below m=4, got 4"),
        (0, 4, "n must be a whole number >= 1"),
        (1, 1, r"m must be a whole number in \[2, 1024\]"),
    ],
)
def test_n_is_below_m(n, m, message) -> None:
    with pytest.raises(ValueError, match=message):
        NM(n, m)


def test_only_transposed_convolutions_have_nothing_to_prune() -> None:
    with pytest.raises(ValueError, match="structure=n_m has nothing to prune: .*ConvTranspose2d"):
        harness.prune(nn.ConvTranspose2d(4, 4, 3), structure="n_m")
