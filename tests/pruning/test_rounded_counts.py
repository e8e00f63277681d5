"""Tests numbers of units that are rounded to multiples, with the search for a requested size."""

from dataclasses import replace

import pytest
import torch
from conftest import cases, every
from scored_layers import DEAD, alive, random_layers

from harness.allocation.base import Layer, Layers, Unreachable
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.shared.rounding import above, nearest
from harness.allocation.uniform import Uniform
from harness.groups.group import Member, units_at_once
from harness.pruning.budget import RequestedSize, counts_for, size_of


def layer(units: int, step: int, dead: int = 0, best: float = 1.0, cost: int = 1) -> Layer:
    scores = best - torch.arange(units) / 1000
    scores[units - dead :] = DEAD
    return Layer((units, 1), "Linear", 0, units - dead, scores, cost, multiple=step)


@cases(
    "units, dead, step, count, expected",
    (64, 0, 16, 0, 0),
    (64, 0, 16, 8, 0),
    (64, 0, 16, 24, 16),  # of two equally near the smaller
    (64, 0, 16, 25, 32),
    (64, 0, 16, 64, 64),
    (50, 0, 16, 50, 50),  # all may stay
    (50, 0, 16, 49, 48),
    (50, 0, 16, 41, 48),
    (12, 0, 16, 6, 0),  # all or none
    (12, 0, 16, 7, 12),
    (50, 2, 16, 48, 48),
    (50, 5, 16, 45, 32),  # masks of another tool: 13 beyond the last multiple go
    (50, 45, 16, 5, 5),  # less than a multiple is left
    (50, 0, 1, 33, 33),
)
def test_a_count_is_the_nearest_multiple_or_all(units, dead, step, count, expected) -> None:
    assert nearest(count, layer(units, step, dead)) == expected


@cases("count, expected", (0, 0), (1, 8), (8, 8), (9, 16), (17, 20), (20, 20))
def test_a_floor_is_rounded_up_to_a_multiple_or_all(count, expected) -> None:
    assert above(count, layer(20, 8)) == expected


def test_units_of_several_rows_come_in_the_least_number_that_fits_every_layer() -> None:
    def rows(name: str, each: int) -> Member:
        return Member(name, 0, torch.zeros(4, each, dtype=torch.int64), "output")

    assert units_at_once([rows("q", 1)], 16) == 16
    assert units_at_once([rows("q", 24)], 16) == 2  # 48 rows
    assert units_at_once([rows("q", 64)], 16) == 1
    assert units_at_once([rows("q", 8), rows("q", 8)], 16) == 1  # fused, 16 rows of one weight
    assert units_at_once([rows("q", 8), rows("k", 4)], 16) == 4  # lcm(2, 4)


def test_one_unit_as_a_floor_becomes_one_step() -> None:
    found = {"a": layer(32, 8, best=9.0), "b": layer(32, 8)}
    # The best 32 units lie in a alone.
    ranking = GlobalRanking(min_units=1)
    assert counts_for(ranking, found, RequestedSize(34, "parameters")) == {"a": 24, "b": 8}
    assert counts_for(ranking, found, RequestedSize(40, "parameters")) == {"a": 32, "b": 8}
    # A floor of 10 is 16, where 8 would be nearer to it.
    ranking = GlobalRanking(min_units=10)
    assert counts_for(ranking, found, RequestedSize(34, "parameters")) == {"a": 16, "b": 16}


def test_rounding_empties_no_layer_that_keeps_units_without_it() -> None:
    found = {"a": layer(24, 24), "b": layer(20, 24), "c": layer(4, 3)}
    plain = {name: replace(each, multiple=1) for name, each in found.items()}
    asked = RequestedSize(38, "units")
    assert counts_for(Uniform(), plain, asked) == {"a": 19, "b": 16, "c": 3}
    # 44 + 0 would be nearer to 38.
    assert counts_for(Uniform(), found, asked) == {"a": 24, "b": 20, "c": 3}
    # Without rounding b is empty too.
    ranked = {"a": layer(24, 8, best=9.0), "b": layer(20, 8)}
    assert counts_for(GlobalRanking(), ranked, RequestedSize(24, "units")) == {"a": 24, "b": 0}


def test_the_nearest_size_of_rounded_counts_is_found() -> None:
    found = {"a": layer(32, 8, best=9.0, cost=3), "b": layer(20, 8, cost=1)}
    # A ranking fills a with steps of 24, then b by 8, 16 and all 20: 96, 104, 112, 116.
    for goal, size in ((0, 0), (13, 24), (12, 24), (60, 48), (94, 96), (109, 112), (115, 116)):
        counts = counts_for(GlobalRanking(), found, RequestedSize(goal, "parameters"))
        assert size_of(found, counts, "parameters") == size


@every("allocation")
@pytest.mark.parametrize("seed", range(2))
@cases("min_units", 0, 2)
def test_every_rule_keeps_multiples_of_what_is_alive_above_its_floors(
    allocation, seed, min_units
) -> None:
    steps = dict(zip("abcd", (2, 3, 4, 1), strict=True))
    found = {n: replace(each, multiple=steps[n]) for n, each in random_layers(seed).items()}
    # Earlier levels left multiples.
    found = {n: dying(each, each.alive // steps[n] * steps[n]) for n, each in found.items()}
    floored = replace(allocation, min_units=min_units)
    for goal in range(12, alive(found) + 1, 5):
        counts = counts_for(floored, found, RequestedSize(goal, "units"))
        for name, each in found.items():
            assert counts[name] % steps[name] == 0 and counts[name] <= each.alive
            assert counts[name] >= min(min_units, each.alive)
        assert abs(sum(counts.values()) - goal) <= max(steps.values())


def dying(layer: Layer, count: int) -> Layer:
    order = layer.scores.argsort(descending=True, stable=True)
    scores = layer.scores.clone()
    scores[order[count:]] = DEAD
    return replace(layer, alive=count, scores=scores)


def test_rounded_floors_that_hold_too_much_name_the_limit_and_the_key() -> None:
    found: Layers = {"a": layer(40, 8, cost=2), "b": layer(40, 8)}
    asked = RequestedSize(20, "parameters")
    # 1 of 40 each becomes 8: 16 + 8 of 120.
    with pytest.raises(Unreachable, match=r"structure.round_to hold 24; .* is 0.2$"):
        counts_for(Uniform(min_units=1), found, asked)
    assert counts_for(Uniform(), found, asked)
