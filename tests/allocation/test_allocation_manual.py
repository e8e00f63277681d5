"""Densities by hand: the layers that are named, and what is left for the others."""

import math
from typing import Any

import pytest
from scored_layers import DEAD, alive, layers, network, random_layers

from harness.allocation.base import Unreachable
from harness.allocation.manual import Manual
from harness.allocation.uniform import Uniform

MANUAL = network({"conv1.weight": (10, 1, 1), "conv2.weight": (20, 1, 1), "fc.weight": (7, 10)})


def manual(keep: int, densities: dict[str, float], **floors: Any) -> list[int]:
    return list(Manual(densities=densities, **floors).allocate(MANUAL, keep).values())


def test_manual_keeps_what_is_named_and_shares_the_rest() -> None:
    assert manual(14, {"conv1": 0.5}) == [5, 2, 7]
    assert manual(14, {"conv1.weight": 0.5, "fc": 0.1}) == [5, 2, 7]
    assert manual(20, {"conv1": 0.0}) == [0, 4, 16]


def test_manual_takes_the_first_pattern_that_fits() -> None:
    assert manual(30, {"conv1": 1.0, "conv*": 0.1}) == [10, 2, 18]
    assert manual(30, {"conv*": 0.1, "conv1": 1.0}) == [1, 2, 27]
    assert manual(30, {"*.weight": 0.3}) == [3, 6, 21]


def test_manual_grows_the_named_in_proportion_when_the_others_are_full() -> None:
    # 2 and 4 of the convolutions, 70 of fc; 6 more go 1 : 2.
    assert manual(82, {"conv*": 0.2}) == [4, 8, 70]
    assert manual(100, {"conv*": 0.0}) == [10, 20, 70]


def test_manual_refuses_less_than_is_named() -> None:
    with pytest.raises(
        Unreachable, match=r"keep 4 of 100 units: .* of densities, .* hold 5.*0.05$"
    ):
        manual(4, {"conv1": 0.5})
    assert manual(5, {"conv1": 0.5}) == [5, 0, 0]


def test_manual_and_other_floors_hold_together() -> None:
    assert manual(10, {"conv1": 0.5, "conv2": 0.0}, min_units=2) == [5, 2, 3]
    with pytest.raises(Unreachable, match="hold 9"):
        manual(8, {"conv1": 0.5, "conv2": 0.0}, min_units=2)


def test_manual_takes_as_many_as_are_alive() -> None:
    found = layers(a=[1.0, 1.0, DEAD, DEAD], b=[1.0] * 8)
    assert Manual(densities={"a": 1.0}).allocate(found, 6) == {"a": 2, "b": 4}


def test_manual_names_a_pattern_that_fits_nothing() -> None:
    message = "densities names 'fc9', which fits no layer that is pruned; there are: conv1.weight, "
    with pytest.raises(ValueError, match=message):
        manual(50, {"conv1": 0.5, "fc9": 0.5})
    # As early as the check that runs before any training.
    with pytest.raises(ValueError, match=message):
        Manual(densities={"fc9": 0.5}).floors(MANUAL)


@pytest.mark.parametrize("density", [-0.1, 1.5, 50, "half", True, math.nan])
def test_manual_refuses_what_is_no_density(density) -> None:
    with pytest.raises(
        ValueError, match=r"densities must be a mapping of numbers in \[0, 1\], got"
    ):
        Manual(densities={"conv1": density})
    with pytest.raises(
        ValueError, match="densities must be a mapping of .*, got .*; write e.g. {conv1"
    ):
        Manual(densities=[density])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_manual_without_densities_is_uniform(seed) -> None:
    found = random_layers(seed)
    for keep in range(alive(found) + 1):
        assert Manual().allocate(found, keep) == Uniform().allocate(found, keep)
