"""Numbers drawn by (seed, index, column): right, the same in any batch, and random enough."""

import pytest
import torch
from torch import Tensor

from harness.vocabulary.counter_rng import uniforms
from harness.vocabulary.seeds import derive

SEED = derive(0, "augmentation", 0, 0)
MANY = torch.arange(50_000)
WORD = 2**64 - 1


def splitmix64(start: int, number: int) -> int:
    """Returns the number-th output of the published generator, in Python's unbounded integers."""
    bits = (start + number * 0x9E3779B97F4A7C15) & WORD
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & WORD
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & WORD
    return bits ^ bits >> 31


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_the_mixing_is_that_of_splitmix64() -> None:
    # First output of the published generator for state 0.
    assert splitmix64(0, 1) == 0xE220A8397B1DCDAF
    for seed in (0, 1, SEED, 2**63 - 1, 2**64 - 1, -1):
        found = uniforms(seed, torch.tensor([0, 1, 7, 2**40]), 4)
        for row, index in zip(found.tolist(), (0, 1, 7, 2**40), strict=True):
            start = splitmix64(seed, index + 1)
            assert row == [(splitmix64(start, k) >> 11) / 2**53 for k in (1, 2, 3, 4)]


def test_draws_are_the_same_in_every_version() -> None:
    # Frozen: old runs could not be repeated otherwise.
    assert uniforms(7, torch.tensor([0, 49_999]), 2).tolist() == [
        [0.7215081806049702, 0.6497043364684557],
        [0.9798904681130701, 0.041615108175767745],
    ]


def test_draws_do_not_depend_on_the_batch_its_order_or_the_number_of_columns() -> None:
    whole = uniforms(SEED, MANY, 3)
    shuffled = torch.randperm(len(MANY), generator=torch.Generator().manual_seed(0))

    assert torch.equal(uniforms(SEED, shuffled, 3), whole[shuffled])
    assert torch.equal(uniforms(SEED, shuffled[:5], 2), whole[shuffled[:5], :2])
    assert torch.equal(uniforms(SEED, MANY[77:78], 1), whole[77:78, :1])


def test_draws_leave_the_global_stream_and_the_indices_alone() -> None:
    torch.manual_seed(0)
    before, indices = torch.get_rng_state(), torch.arange(5)

    uniforms(SEED, indices, 3)

    assert torch.equal(torch.get_rng_state(), before)
    assert indices.tolist() == [0, 1, 2, 3, 4]


def test_draws_are_float64_in_the_half_open_unit_interval() -> None:
    found = uniforms(SEED, MANY, 3)
    assert (found.dtype, found.shape) == (torch.float64, (50_000, 3))
    assert found.min() >= 0 and found.max() < 1
    assert uniforms(SEED, MANY[:0], 3).shape == (0, 3)
    assert uniforms(SEED, MANY, 0).shape == (50_000, 0)


@pytest.mark.parametrize("epoch", range(5))
def test_each_column_is_uniform(epoch) -> None:
    found = uniforms(derive(0, "augmentation", 0, epoch), MANY, 3)
    for column in found.T:
        # 5 standard deviations of what 50,000 independent numbers give.
        assert float(column.mean()) == pytest.approx(1 / 2, abs=5 * 0.2887 / 50_000**0.5)
        assert float(column.var()) == pytest.approx(1 / 12, abs=5 * 0.0745 / 50_000**0.5)
        expected = 50_000 / 81
        chi = ((column * 81).long().bincount(minlength=81) - expected).square().sum() / expected
        assert 80 - 5 * 160**0.5 < float(chi) < 80 + 5 * 160**0.5  # 80 degrees of freedom


def test_columns_neighbours_epochs_levels_and_seeds_are_uncorrelated() -> None:
    least = 5 / 50_000**0.5
    found = uniforms(SEED, MANY, 3)

    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(correlation(found[:, one], found[:, other])) < least
    for lag in (1, 2, 8, 128):
        for column in found.T:
            assert abs(correlation(column[lag:], column[:-lag])) < least
    for other in ((0, 0, 1), (0, 1, 0), (1, 0, 0)):
        seed, *when = other
        theirs = uniforms(derive(seed, "augmentation", *when), MANY, 3)
        assert abs(correlation(found, theirs)) < least


def test_seeds_next_to_each_other_give_unrelated_draws() -> None:
    one, other = uniforms(1, MANY, 3), uniforms(2, MANY, 3)
    assert abs(correlation(one, other)) < 5 / 150_000**0.5
    assert not torch.isin(one, other).any()


def test_pairs_of_columns_fill_the_square() -> None:
    found = (uniforms(SEED, MANY, 2) * 9).long()
    cells = (found[:, 0] * 9 + found[:, 1]).bincount(minlength=81)
    expected = 50_000 / 81
    chi = float((cells - expected).square().sum() / expected)
    assert 80 - 5 * 160**0.5 < chi < 80 + 5 * 160**0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_draws_the_same_bits() -> None:
    there = uniforms(SEED, MANY.cuda(), 3)
    assert there.is_cuda
    assert torch.equal(there.cpu(), uniforms(SEED, MANY, 3))


NO_INDICES = [torch.tensor([0.5]), torch.tensor(3), torch.zeros(2, 2).long(), torch.ones(2).bool()]


@pytest.mark.parametrize("indices", NO_INDICES, ids=["float", "scalar", "matrix", "mask"])
def test_what_is_no_list_of_indices_is_refused(indices) -> None:
    with pytest.raises(ValueError, match="indices must be int64 in one dimension, got"):
        uniforms(0, indices, 1)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        uniforms(0, MANY, -1)
