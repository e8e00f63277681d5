"""Tests floors of layers under every rule."""

import re

import pytest
import torch
from conftest import cases, every
from scored_layers import DEAD, alive, layers, random_layers, with_floors

from harness.allocation.base import (
    Layer,
    Unreachable,
    smallest_density,
)
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform


@every("allocation")
@pytest.mark.parametrize("seed", range(4))
def test_no_layer_falls_below_its_floor(allocation, seed) -> None:
    found = random_layers(seed)
    floored = with_floors(allocation, min_units=1, min_density=0.1)
    # At least 1, at least a tenth rounded up, at most what is alive.
    floors = {n: min(one.alive, max(1, -(-one.units // 10))) for n, one in found.items()}
    for keep in range(sum(floors.values()), alive(found) + 1):
        counts = floored.allocate(found, keep)
        assert list(counts) == list(found)
        assert sum(counts.values()) == keep
        assert all(floors[name] <= counts[name] <= found[name].alive for name in found)


@every("allocation")
@pytest.mark.parametrize("seed", range(4))
def test_floors_that_do_not_bind_change_nothing(allocation, seed) -> None:
    found = random_layers(seed)
    floored = with_floors(allocation, min_units=1)
    for keep in range(alive(found) + 1):
        counts = allocation.allocate(found, keep)
        if all(counts[name] >= min(1, layer.alive) for name, layer in found.items()):
            assert floored.allocate(found, keep) == counts


@every("allocation")
def test_what_the_refusal_calls_reachable_is_reachable(allocation) -> None:
    found = random_layers(1)
    floored = with_floors(allocation, min_units=3, min_density=0.17)
    least = sum(floored.floors(found).values())
    units = sum(layer.units for layer in found.values())
    with pytest.raises(Unreachable, match=f"cannot keep {least - 1} of {units} units") as refusal:
        floored.allocate(found, least - 1)
    density = float(re.findall(r"is ([\d.]+)$", str(refusal.value))[0])
    assert floored.allocate(found, round(density * units)) == floored.floors(found)


def test_the_others_share_by_the_same_rule_what_floors_leave() -> None:
    # Ranked: b 4, a 1, c 0; c's floor of 2 leaves 3 to the best of a and b.
    found = layers(a=[5.0, 1.0], b=[9.0, 8.0, 7.0, 6.0], c=[0.5, 0.4, 0.3])
    assert GlobalRanking(min_units=0).allocate(found, 5) == {"a": 1, "b": 4, "c": 0}
    assert GlobalRanking(min_density=0.34).allocate(found, 5) == {"a": 1, "b": 2, "c": 2}


def test_a_floor_may_bring_the_next_layer_to_its_own() -> None:
    # Uniform gives 2, 2, 6 of 10. The floor of a takes 4, so b would have 6 * 2 / 8 < 2.
    found = layers(a=[1.0] * 10, b=[1.0] * 8, c=[1.0] * 24)
    assert Uniform().allocate(found, 10) == {"a": 2, "b": 2, "c": 6}
    assert Uniform(min_units=4).allocate(found, 12) == {"a": 4, "b": 4, "c": 4}


def test_a_floor_is_rounded_up_from_the_decimal_that_was_written() -> None:
    # 0.07 * 100 is 7.000000000000001 in floating point.
    assert Uniform(min_density=0.07).floors(layers(a=[1.0] * 100, b=[1.0] * 101)) == {
        "a": 7,
        "b": 8,
    }


def test_a_floor_asks_no_more_than_is_alive() -> None:
    found = layers(a=[1.0, DEAD, DEAD, DEAD], b=[1.0] * 4)
    assert Uniform(min_units=3, min_density=1.0).floors(found) == {"a": 1, "b": 4}


@cases("least, whole", (1, 3), (2, 3), (123_457_891, 10**9), (7, 10**8))
def test_a_smallest_density_is_rounded_up(least, whole) -> None:
    density = float(smallest_density(least, whole))
    assert least <= density * whole <= least * (1 + 1e-5)


@cases(
    "floors, message",
    ({"min_units": -1}, "min_units must be a whole number >= 0, got -1"),
    ({"min_units": 1.0}, "min_units must be a whole number >= 0, got 1.0"),
    ({"min_density": 10}, r"min_density must be a number in \[0, 1\], got 10; is it a percentage"),
    ({"min_density": float("nan")}, r"min_density must be a number in \[0, 1\], got nan"),
    ({"min_density": True}, r"min_density must be a number in \[0, 1\], got True"),
    ({"budget": "flops"}, "budget must be params or macs, got 'flops'"),
)
@every("allocation")
def test_floors_out_of_range_are_refused(allocation, floors, message) -> None:
    with pytest.raises(ValueError, match=message):
        with_floors(allocation, **floors)


def test_a_layer_knows_whether_it_is_the_classifier() -> None:
    scores = torch.zeros(4)
    assert Layer((2, 2), "Linear", 2, 4, scores, 1, layer_count=4, last=True).is_classifier
    assert not Layer((2, 2), "Linear", 3, 4, scores, 1, layer_count=4).is_classifier
    assert not Layer(
        (2, 2, 1, 1), "Conv2d", 3, 4, scores, 1, layer_count=4, last=True
    ).is_classifier
    assert Layer((2, 2, 1), "OwnConvolution", 0, 4, scores, 1).is_convolution
