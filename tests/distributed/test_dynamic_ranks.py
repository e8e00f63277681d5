"""Masks that change inside a training are the same, bit for bit, on 1, 2 and 4 ranks."""

from typing import Any

import pytest
import torch
from dynamic_ranks_cases import MODES, all_cases, masks_by_step
from forked_ranks import on_ranks

from harness.distributed import Ranks

Found = dict[str, Any]
DIFFER = {2: "ranks 0 and 1 differ", 4: "rank 3 differs from the others"}
# Four ranks run RigL alone.
CASES = [
    *((mode, 2, exchange) for mode in MODES for exchange in ("dense", "sparse")),
    ("rigl", 4, "sparse"),
]


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[str, Found]:
    """Returns the result of one rank by mode."""
    return {m: masks_by_step(Ranks(), tmp_path_factory.mktemp("alone"), m) for m in MODES}


@pytest.fixture(scope="module", name="found")
def fixture_found(tmp_path_factory) -> dict[int, list[Found]]:
    """Returns the results of each rank by number of ranks."""
    out = tmp_path_factory.mktemp("ranks")
    return {count: on_ranks(count, all_cases, out) for count in (2, 4)}


@pytest.mark.parametrize(("mode", "count", "exchange"), CASES)
def test_masks_are_those_of_one_rank_after_every_step(alone, found, mode, count, exchange) -> None:
    """Checks that RigL and SNFS look at the gradients of all weights.

    Gradients of live weights alone would grow other ones.
    """
    one = alone[mode]
    assert len(one["digests"]) == 10 and len(set(one["digests"])) == 4
    for rank in found[count]:
        mine = rank[f"{mode} {exchange}"]
        assert mine["digests"] == one["digests"]
        assert all(torch.equal(m, mine["masks"][name]) for name, m in one["masks"].items())
        for name, tensor in one["state"].items():
            torch.testing.assert_close(mine["state"][name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_on_two_ranks_both_exchanges_give_the_same_bits(found, mode) -> None:
    for rank in found[2]:
        dense, sparse = rank[f"{mode} dense"], rank[f"{mode} sparse"]
        assert dense["records"] == sparse["records"]
        assert all(torch.equal(v, sparse["state"][name]) for name, v in dense["state"].items())


@pytest.mark.parametrize("count", [2, 4])
def test_a_mask_that_differs_before_an_update_is_named_on_every_rank(found, count) -> None:
    differs = f"masks in force: {DIFFER[count]} (fc2.weight)"
    assert all(differs in rank["said"] for rank in found[count])
