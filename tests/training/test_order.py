from fractions import Fraction

import pytest
import torch
from portioned import group, steps

from harness.distributed import Ranks
from harness.training.batches.batching import epoch_order, micro_batches, steps_per_epoch

SAMPLES = 23


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 4, 5, 7, 12, 23, 100])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 9])
def test_every_global_batch_is_seen_once_with_equal_weight_for_each_sample(
    world, batch_size, accumulate
) -> None:
    order = epoch_order(SAMPLES, seed=1, level=0, epoch=0)
    every_rank = [steps(order, batch_size, ranks, accumulate) for ranks in group(world)]

    # All ranks step equally often: once per global batch.
    batches = order.split(batch_size)
    assert [len(rank) for rank in every_rank] == [len(batches)] * world
    for number, batch in enumerate(batches):
        weight = {int(index): Fraction(0) for index in batch}
        for rank in every_rank:
            for micro_batch in rank[number]:
                for index in micro_batch.indices.tolist():
                    # DDP divides the sum over ranks by their number.
                    weight[index] += Fraction(micro_batch.scale).limit_denominator(1000) / world
        assert set(weight.values()) == {Fraction(1, len(batch))}


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_no_rank_is_ever_without_a_sample(world) -> None:
    order = torch.arange(9)
    for ranks in group(world):
        assert all(len(micro_batch.indices) for micro_batch in micro_batches(order, 4, ranks, 3))


def test_a_rank_without_a_share_of_the_last_batch_does_not_count() -> None:
    first, second = (list(micro_batches(torch.arange(5), 4, ranks, 1)) for ranks in group(2))
    assert [(p.indices.tolist(), p.scale) for p in first] == [([0, 1], 0.5), ([4], 2.0)]
    assert [(p.indices.tolist(), p.scale) for p in second] == [([2, 3], 0.5), ([4], 0.0)]


def test_accumulation_cuts_a_share_and_steps_after_its_last_part() -> None:
    found = list(micro_batches(torch.arange(5), 5, Ranks(), accumulate=2))
    assert [(p.indices.tolist(), p.scale, p.last) for p in found] == [
        ([0, 1, 2], 0.2, False),
        ([3, 4], 0.2, True),
    ]


def test_an_epoch_is_a_permutation_of_all_samples() -> None:
    order = epoch_order(SAMPLES, seed=0, level=2, epoch=5)
    assert sorted(order.tolist()) == list(range(SAMPLES))
    assert order.dtype == torch.int64


def test_order_repeats_for_equal_seed_level_and_epoch_and_differs_otherwise() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    orders = [tuple(epoch_order(SAMPLES, *key).tolist()) for key in keys]
    assert len(set(orders)) == 4
    assert [tuple(epoch_order(SAMPLES, *key).tolist()) for key in keys] == orders


def test_order_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    epoch_order(SAMPLES, 0, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_a_partial_batch_is_a_step_too(samples, steps) -> None:
    assert steps_per_epoch(samples, batch_size=4) == steps
