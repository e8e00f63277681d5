"""Tests the knapsack beside all choices that there are, on cases small enough to try them all."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from conftest import cases
from scored_layers import alive, layers

from harness.allocation.base import Layers
from harness.allocation.halp import Halp
from harness.pruning.budget import RequestedSize, counts_for
from harness.vocabulary.tensors import Counts


def worth(found: Layers, kept: Counts) -> float:
    """Returns the sum of the highest scores."""
    return sum(float(found[n].scores.sort(descending=True)[0][:k].sum()) for n, k in kept.items())


def stairs(a: list[int], b: list[int], c: list[int]):
    """Returns a size of three layers, whose k units take so much time by k."""

    def size(kept: Counts) -> int:
        return a[kept["a"]] + b[kept["b"]] + c[kept["c"]]

    return size


SIZES = {
    "additive": stairs([0, 3, 6, 9], [0, 1, 2, 3, 4], [0, 7, 14]),
    "steps": stairs([0, 5, 5, 20], [0, 4, 4, 4, 9], [0, 0, 11]),
    "dear_start": stairs([0, 30, 31, 32], [0, 9, 18, 27, 36], [0, 25, 26]),
}


@cases("name", *SIZES)
@cases("seed", 0, 1, 2)
def test_no_choice_within_the_budget_is_worth_more(name, seed) -> None:
    size, stream = SIZES[name], torch.Generator().manual_seed(seed)
    found = layers(
        **{
            n: torch.rand(k, generator=stream).tolist()
            for n, k in zip("abc", (3, 4, 2), strict=True)
        }
    )
    every = [dict(zip("abc", kept, strict=True)) for kept in product(range(4), range(5), range(3))]

    proposals = Halp().proposals(found, size)

    for budget in range(proposals.most + 1):
        kept = proposals.at(budget)
        best = max(worth(found, each) for each in every if size(each) <= budget)
        assert size(kept) <= budget
        assert worth(found, kept) == pytest.approx(best, abs=1e-12)
    assert proposals.at(proposals.most) == {"a": 3, "b": 4, "c": 2}


def test_the_requested_size_is_reached_as_near_as_a_budget_comes() -> None:
    found = layers(a=[3.0, 2.0, 1.0], b=[9.0, 8.0, 7.0, 6.0], c=[5.0, 4.0])
    # b is worth most: all of it for 9, and two units of a for 5. The next better choice takes 25.
    kept = counts_for(Halp(), found, RequestedSize(19, "nanoseconds left"), SIZES["steps"])
    assert kept == {"a": 2, "b": 4, "c": 1}


def test_a_unit_that_costs_no_time_stays() -> None:
    found = layers(a=[9.0, 0.1, 0.1], b=[1.0] * 4, c=[1.0, 1.0])
    kept = Halp().proposals(found, SIZES["steps"]).at(5)
    assert kept == {"a": 2, "b": 0, "c": 1}  # the second unit of a and the first of c are free


def test_what_layers_that_read_each_other_save_together_is_found_by_size() -> None:
    def size(kept: Counts) -> int:
        return kept["a"] * kept["b"] + kept["b"] * kept["c"]

    found = layers(a=[4.0, 3.0, 2.0, 1.0], b=[1.0] * 4, c=[4.0, 3.0, 2.0, 1.0])
    asked = RequestedSize(16, "macs left")
    kept = counts_for(Halp(min_units=1), found, asked, size)
    assert abs(size(kept) - 16) <= 2


def test_units_go_in_groups_and_floors_hold() -> None:
    found = layers(a=[float(n) for n in range(10)], b=[float(n) for n in range(7)])

    def size(kept: Counts) -> int:
        return 3 * kept["a"] + 2 * kept["b"]

    proposals = Halp(step=4, min_units=2).proposals(found, size)
    tried = [proposals.at(budget) for budget in range(proposals.most + 1)]
    assert {kept["a"] for kept in tried} == {2, 4, 8, 10}
    assert {kept["b"] for kept in tried} == {2, 4, 7}


def test_a_layer_of_very_many_units_is_tried_at_no_more_than_257_numbers() -> None:
    found = layers(a=[1.0] * 5000, b=[2.0])
    asked: set[int] = set()

    def size(kept: Counts) -> int:
        asked.add(kept["a"])
        return kept["a"] + kept["b"]

    Halp().proposals(found, size)
    assert 200 < len(asked) <= 257


def test_pruned_units_are_no_candidates_and_equal_costs_keep_the_best_of_all() -> None:
    found = layers(a=[3.0, -torch.inf, 1.0], b=[2.0, 4.0])
    found = {name: replace(layer, alive=alive({name: layer})) for name, layer in found.items()}

    def size(kept: Counts) -> int:
        return 10 * (kept["a"] + kept["b"])

    proposals = Halp().proposals(found, size)
    assert proposals.at(proposals.most) == {"a": 2, "b": 2}
    assert proposals.at(20) == Halp().allocate(found, 2) == {"a": 1, "b": 1}


def test_scores_of_zero_fill_the_budget() -> None:
    found = layers(a=[0.0] * 3, b=[0.0] * 3)
    proposals = Halp().proposals(found, lambda kept: kept["a"] + kept["b"])
    assert [sum(proposals.at(budget).values()) for budget in range(7)] == list(range(7))
