"""Tests layers that lose a fraction of what they have left, each at a rate of its own."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from scored_layers import network

from harness.allocation.layer_rates import LayerRates

LENET = network({"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)})
LENET["fc3.weight"] = replace(LENET["fc3.weight"], last=True)
SMALL = network({"a.weight": (10, 10), "b.weight": (20, 10)})


def kept(rates: dict[str, float], keep: int, layers: Any = SMALL, **floors: Any) -> list[int]:
    return list(LayerRates(rates=rates, **floors).allocate(layers, keep).values())


def test_the_output_layer_loses_10_percent_where_the_others_lose_20() -> None:
    # Frankle & Carbin 2019: 0.8 of 235,200 and of 30,000, and 0.9 of 1,000.
    assert kept({"last": 0.5}, 188_160 + 24_000 + 900, LENET) == [188_160, 24_000, 900]


def test_equal_rates_leave_each_layer_the_same_fraction() -> None:
    assert kept({}, 150) == kept({"*": 3.0}, 150) == [50, 100]


def test_a_rate_acts_on_what_is_left_not_on_the_whole_layer() -> None:
    # 40 of a and 200 of b are left; 70 go in the proportion 40 : 0.5 * 200.
    layers = {
        "a.weight": replace(SMALL["a.weight"], alive=40),
        "b.weight": SMALL["b.weight"],
    }
    assert kept({"b": 0.5}, 240 - 70, layers) == [20, 150]


def test_a_layer_that_is_empty_leaves_the_rest_to_the_others() -> None:
    assert kept({"a": 9.0}, 150) == [0, 150]
    assert kept({"a": 0.0}, 150) == [100, 50]
    assert kept({"a": 0.0}, 60) == [60, 0]


def test_the_first_pattern_that_fits_counts_and_floors_hold() -> None:
    assert kept({"a": 1.0, "*": 0.0}, 250) == [50, 200]
    assert kept({"a": 9.0}, 150, min_density=0.2) == [20, 130]


def test_the_total_is_exact_for_rates_with_decimals() -> None:
    for keep in range(0, 301, 7):
        assert sum(kept({"a": 0.1, "b": 0.7}, keep)) == keep
    assert Fraction("0.1") != Fraction(0.1)  # why rates are read as they are written


def test_a_name_that_fits_no_layer_is_refused_and_places_are_not() -> None:
    with pytest.raises(ValueError, match=r"rates names 'fc9', which fits no layer"):
        kept({"fc9": 0.5}, 10)
    assert kept({"last": 0.5, "first": 0.5}, 150) == [50, 100]
