"""Shares in whole units, the uniform and the global rule, and what every rule owes."""

from dataclasses import replace

import pytest
import torch
from conftest import every
from scored_layers import DEAD, alive, layers, random_layers

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.vocabulary.apportion import apportion


def test_shares_are_in_proportion() -> None:
    room = {"a": 100, "b": 100, "c": 100}
    assert apportion(10, {"a": 50, "b": 30, "c": 20}, room) == {"a": 5, "b": 3, "c": 2}


def test_the_largest_remainder_gets_what_is_left() -> None:
    # Quotas 0.9, 1.5 and 0.6: one whole unit, then remainders .9 and .6 win over .5.
    room = {"a": 9, "b": 9, "c": 9}
    assert apportion(3, {"a": 3, "b": 5, "c": 2}, room) == {"a": 1, "b": 1, "c": 1}


def test_of_equal_remainders_the_first_wins() -> None:
    room = {"z": 9, "a": 9}
    assert apportion(3, {"z": 4, "a": 4}, room) == {"z": 2, "a": 1}


def test_what_a_full_tensor_cannot_take_goes_to_the_others_in_proportion() -> None:
    # a takes its 2; the 8 that are left go 2 : 6.
    assert apportion(10, {"a": 80, "b": 10, "c": 30}, {"a": 2, "b": 9, "c": 9}) == {
        "a": 2,
        "b": 2,
        "c": 6,
    }


def test_filling_one_tensor_may_fill_the_next() -> None:
    sizes = {"a": 60, "b": 30, "c": 10}
    assert apportion(20, sizes, {"a": 5, "b": 7, "c": 50}) == {"a": 5, "b": 7, "c": 8}


def test_all_room_is_used_when_all_is_asked() -> None:
    assert apportion(7, {"a": 1, "b": 100}, {"a": 4, "b": 3}) == {"a": 4, "b": 3}


@pytest.mark.parametrize("total", [-1, 8])
def test_more_than_all_room_is_refused(total) -> None:
    with pytest.raises(ValueError, match=f"cannot distribute {total} units: there is room for 7"):
        apportion(total, {"a": 1, "b": 1}, {"a": 4, "b": 3})


def test_a_tensor_of_size_zero_is_filled_last() -> None:
    sizes, room = {"a": 0, "b": 5, "c": 0}, {"a": 2, "b": 3, "c": 4}
    assert apportion(3, sizes, room) == {"a": 0, "b": 3, "c": 0}
    # The 3 beyond b's room go 2 : 4.
    assert apportion(6, sizes, room) == {"a": 1, "b": 3, "c": 2}


def test_billions_of_units_are_shared_exactly() -> None:
    sizes = {"a": 3 * 10**17 + 1, "b": 10**17}
    shares = apportion(10**17 + 1, sizes, sizes)
    assert sum(shares.values()) == 10**17 + 1


def test_uniform_keeps_the_same_share_everywhere() -> None:
    found = layers(a=[1.0] * 8, b=[9.0] * 4, c=[5.0] * 12)
    assert Uniform().allocate(found, 6) == {"a": 2, "b": 1, "c": 3}


def test_uniform_caps_a_layer_at_what_is_alive_in_it() -> None:
    found = layers(a=[1.0, DEAD, DEAD, DEAD], b=[1.0] * 4)
    assert Uniform().allocate(found, 4) == {"a": 1, "b": 3}


def test_global_ranking_counts_the_best_of_the_network() -> None:
    found = layers(a=[9.0, 8.0, 1.0], b=[7.0, 0.5, 0.1])
    assert GlobalRanking().allocate(found, 3) == {"a": 2, "b": 1}


def test_global_ranking_may_empty_a_layer() -> None:
    assert GlobalRanking().allocate(layers(a=[9.0, 8.0], b=[1.0, 2.0]), 2) == {"a": 2, "b": 0}


def test_global_ranking_never_counts_the_dead() -> None:
    found = layers(a=[DEAD, DEAD, -5.0], b=[DEAD, 0.0])
    assert GlobalRanking().allocate(found, 2) == {"a": 1, "b": 1}


@every("allocation")
@pytest.mark.parametrize("seed", range(6))
def test_allocation_shares_exactly_and_never_beyond_what_is_alive(allocation, seed) -> None:
    found = random_layers(seed)
    for keep in range(alive(found) + 1):
        counts = allocation.allocate(found, keep)
        assert list(counts) == list(found)
        assert sum(counts.values()) == keep
        assert all(0 <= counts[name] <= layer.alive for name, layer in found.items())


@every("allocation")
def test_allocation_of_nothing_and_of_everything(allocation) -> None:
    found = random_layers(9)
    assert set(allocation.allocate(found, 0).values()) == {0}
    everything = {name: layer.alive for name, layer in found.items()}
    assert allocation.allocate(found, alive(found)) == everything


@every("allocation")
def test_allocation_answers_twice_the_same_and_reads_only(allocation) -> None:
    found = random_layers(4)
    before = {name: layer.scores.clone() for name, layer in found.items()}
    assert allocation.allocate(found, 7) == allocation.allocate(found, 7)
    assert all(torch.equal(layer.scores, before[name]) for name, layer in found.items())


@every("allocation")
@pytest.mark.parametrize("keep", [-1, 13])
def test_allocation_refuses_what_is_not_there(allocation, keep) -> None:
    found = layers(a=[1.0, 2.0, DEAD], b=[3.0] * 10)
    with pytest.raises(ValueError, match=f"cannot keep {keep} of 12 units"):
        allocation.allocate(found, keep)


@every("allocation")
def test_allocation_of_equal_or_zero_scores_is_exact(allocation) -> None:
    for value in (0.0, 7.0):
        found = layers(a=[value] * 3, b=[value] * 20, c=[value] * 9)
        for keep in range(33):
            assert sum(allocation.allocate(found, keep).values()) == keep


@every("allocation")
def test_allocation_takes_half_precision_scores(allocation) -> None:
    found = random_layers(3)
    half = {n: replace(layer, scores=layer.scores.bfloat16()) for n, layer in found.items()}
    for keep in range(alive(found) + 1):
        assert allocation.allocate(half, keep) == allocation.allocate(found, keep)


@every("allocation")
@pytest.mark.parametrize("seed", range(6))
def test_one_unit_more_takes_at_most_a_rounding_from_a_layer(allocation, seed) -> None:
    found = random_layers(seed)
    loss = 0 if allocation.nested else 1
    before = allocation.allocate(found, 0)
    for keep in range(1, alive(found) + 1):
        counts = allocation.allocate(found, keep)
        assert all(counts[name] >= before[name] - loss for name in found)
        before = counts
