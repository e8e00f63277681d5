"""Checks that sending live gradients only changes no result."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from conftest import cases
from exchange_cases import CASES, all_cases
from forked_ranks import on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from harness.distributed.gradient_exchange import GradientExchange, SparseBucket, register_exchange
from harness.vocabulary.tensors import Tensors

COUNTS = (1, 2, 3, 4)
# One rounding to bfloat16 is off by 2^-9 at most, and 4 ranks round 7 times, partly below the max.
BFLOAT16 = 0.02

Found = dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module", name="found")
def fixture_found() -> Found:
    """Returns the results of each rank by number of ranks."""
    return {count: on_ranks(count, all_cases) for count in COUNTS}


def masked(step: dict[str, Tensors]) -> Tensors:
    masks = step["masks"]
    return {name: g * masks[name] if name in masks else g for name, g in step["gradients"].items()}


def off(one: Tensors, other: Tensors) -> float:
    """Returns the largest difference, as a share of its tensor's maximum."""
    assert one.keys() == other.keys()
    return max(
        float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp(min=1e-30))
        for name in one
    )


def equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@cases("count", 1, 2)
@pytest.mark.parametrize(("variant", "dtype"), CASES)
def test_on_one_and_two_ranks_sparse_gradients_are_the_dense_ones_bit_for_bit(
    found, variant, dtype, count
) -> None:
    for rank in found[count]:
        dense, sparse = (rank["gradients"][variant + dtype][name] for name in ("dense", "sparse"))
        assert len(dense) == 5
        for step in dense:
            assert equal(masked(dense[step]), masked(sparse[step])), step


@cases("count", 3, 4)
@pytest.mark.parametrize(("variant", "dtype"), CASES)
def test_beyond_two_ranks_sparse_gradients_differ_from_dense_ones_by_rounding_only(
    found, variant, dtype, count
) -> None:
    for rank in found[count]:
        dense, sparse = (rank["gradients"][variant + dtype][name] for name in ("dense", "sparse"))
        for step in dense:
            bound = BFLOAT16 if dtype else 1e-6
            assert off(masked(dense[step]), masked(sparse[step])) <= bound, step


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("variant", "dtype"), CASES)
def test_gradients_of_pruned_entries_come_back_as_zero(found, variant, dtype, count) -> None:
    for step in found[count][0]["gradients"][variant + dtype]["sparse"].values():
        for name in step["masks"].keys() & step["gradients"].keys():
            assert not step["gradients"][name][~step["masks"][name]].any(), name
    # Dense exchange leaves them to those who mask gradients.
    dense = found[count][0]["gradients"][variant + dtype]["dense"]["first"]
    assert dense["gradients"]["dead.weight"].any()


@cases("count", 2, 3, 4)
@cases("case", "plain", "plain bfloat16")
def test_every_rank_has_the_same_gradients(found, count, case) -> None:
    first, *others = (rank["gradients"][case]["sparse"] for rank in found[count])
    for other in others:
        assert all(equal(first[step]["gradients"], other[step]["gradients"]) for step in first)


def test_a_parameter_that_the_loss_leaves_out_has_no_gradient(found) -> None:
    for step in found[2][0]["gradients"]["unused parameter"]["sparse"].values():
        assert "unused.weight" in step["masks"]
        assert "unused.weight" not in step["gradients"]


def test_bfloat16_rounds_each_ranks_share_before_the_sum(found) -> None:
    one, other = (rank["rounded"] for rank in found[2])
    for name, mean in one["mean"].items():
        shares = (rank["own"][name].bfloat16() for rank in (one, other))
        assert torch.equal(mean, sum(shares, torch.zeros((), dtype=torch.bfloat16)).float())


@pytest.mark.parametrize("count", COUNTS)
def test_only_live_entries_are_sent_and_of_a_dead_bucket_nothing(found, count) -> None:
    # Entries: 4096 all live, 32 of 64 rows, then 31; float32 has 4 bytes, bfloat16 2. The layers
    # share a bucket until DDP has seen a backward.
    sent = {step: found[count][0]["messages"][step]["bytes"] for step in found[1][0]["messages"]}

    assert sent["sparse, first"] == [6144 * 4]
    assert sent["sparse, unchanged"] == [2048 * 4, 4096 * 4]
    assert sent["sparse, one mask damaged"] == [2048 * 4, 4096 * 4]
    assert sent["sparse, one mask replaced"] == [1984 * 4, 4096 * 4]
    assert sent["sparse bfloat16, unchanged"] == [2048 * 2, 4096 * 2]
    assert sent["sparse bfloat16, one mask replaced"] == [1984 * 2, 4096 * 2]


def test_index_lists_are_made_again_only_if_buckets_change_or_masks_are_replaced(found) -> None:
    lists = {step: made["lists"] for step, made in found[2][0]["messages"].items()}

    for name in ("sparse", "sparse bfloat16"):
        assert lists[f"{name}, first"] == 1
        assert lists[f"{name}, after DDP rearranged its buckets"] == 3
        assert lists[f"{name}, unchanged"] == 0
        # What one rank alone finds out must not change how much it sends.
        assert lists[f"{name}, one mask damaged"] == 0
        assert lists[f"{name}, one mask replaced"] == 1


def test_a_bucket_whose_parameters_change_places_keeps_their_masks(found) -> None:
    for gradient in found[2][0]["reversed_bucket"]:
        assert gradient.flatten().tolist() == [1, 0] * 7 + [1]


@cases("variant", "plain", "unused parameter")
def test_on_two_ranks_training_gives_the_weights_of_dense_training_bit_for_bit(found, variant):
    weights = found[2][0]["training"][variant]

    assert equal(weights["dense"], weights["sparse"])
    assert equal(weights["dense bfloat16"], weights["sparse bfloat16"])
    assert not equal(weights["dense"], weights["dense bfloat16"])


def test_on_four_ranks_training_differs_from_dense_training_by_rounding_only(found) -> None:
    weights = found[4][0]["training"]["plain"]

    assert off(weights["dense"], weights["sparse"]) <= 1e-5
    assert equal(weights["sparse"], found[4][3]["training"]["plain"]["sparse"])


def test_a_replica_with_a_hook_dies_with_its_last_reference(found) -> None:
    assert not found[2][0]["leftovers"]


def test_packing_sends_this_ranks_share_of_live_entries() -> None:
    bucket = torch.tensor([1.0, 2.0, 3.0, 4.0])
    packing = SparseBucket(bucket, torch.tensor([0, 2]), None, world_size=2)

    packed = packing.pack(bucket)
    assert packed.tolist() == [0.5, 1.5]
    assert bucket.tolist() == [0, 0, 0, 0]

    packed += torch.tensor([10.0, 20.0])
    assert packing.unpack(bucket).tolist() == [10.5, 0, 21.5, 0]


def test_packing_keeps_its_memory_from_step_to_step() -> None:
    bucket = torch.ones(4)
    packing = SparseBucket(bucket, torch.tensor([0, 2]), torch.bfloat16, world_size=2)

    assert packing.pack(bucket).data_ptr() == packing.pack(bucket).data_ptr()


@cases(
    "masks, said",
    ({"heavy": torch.ones(3, 3)}, "heavy: a mask of shape (3, 3) .* that is unknown"),
    ({"weight": torch.ones(3)}, "weight: a mask of shape (3,) .* that is of shape (3, 3)"),
)
def test_masks_of_another_model_are_refused_by_name(masks, said) -> None:
    replica = cast(DistributedDataParallel, SimpleNamespace(module=nn.Linear(3, 3)))
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        register_exchange(replica, GradientExchange(sparse=True), lambda: masks)
