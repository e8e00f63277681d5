"""The rule that reads curves of the loss: counts worked out on paper, and a bisected budget."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from conftest import cases, component
from scored_layers import layers

from harness.allocation.base import Layer, Layers
from harness.allocation.sensitivity import Sensitivity

EQUAL = Sensitivity(rule="equal_rise")
LEAST = Sensitivity(rule="least_sum")


def with_curves(**curves: tuple[tuple[float, float], ...]) -> Layers:
    """Returns layers of 100 units that have these curves."""
    found = layers(**{name: [1.0] * 100 for name in curves})
    return {name: replace(layer, curve=curves[name]) for name, layer in found.items()}


@cases(
    "keep, a, b",
    (200, 100, 100),
    (150, 67, 83),  # b = 2/3: 1 - 0.5 x 2/3 and 1 - 0.5 x 1/3
    (125, 50, 75),  # b = 1
    (112, 50, 62),  # a has reached its least density
    (100, 50, 50),
    (40, 20, 20),  # below what was measured, in proportion
    (0, 0, 0),
)
def test_sensitivity_spends_one_rise_of_the_loss_on_all_layers(keep, a, b) -> None:
    # The loss rises by 1 and by 2 on the way to half the units, from different losses.
    found = with_curves(a=((1.0, 1.0), (0.5, 2.0)), b=((1.0, 3.0), (0.5, 5.0)))
    assert EQUAL.allocate(found, keep) == {"a": a, "b": b}


def test_sensitivity_goes_through_free_ranges_together() -> None:
    found = with_curves(
        a=((1.0, 1.0), (0.6, 1.0), (0.2, 3.0)), b=((1.0, 1.0), (0.8, 0.9), (0.2, 3.0))
    )
    # 40 units of a and 20 of b cost nothing: of 30 to remove, 20 and 10.
    assert EQUAL.allocate(found, 170) == {"a": 80, "b": 90}
    # Halfway to a rise of 2.
    assert EQUAL.allocate(found, 90) == {"a": 40, "b": 50}


def test_sensitivity_holds_the_largest_rise_so_far() -> None:
    # At 0.25 the loss of a is back at 2, after 3 at 0.5: with a rise of 1 it may not go there.
    found = with_curves(a=((1.0, 1.0), (0.5, 3.0), (0.25, 2.0)), b=((1.0, 1.0), (0.2, 2.0)))
    assert EQUAL.allocate(found, 95) == {"a": 75, "b": 20}
    # b has nothing left to give at a rise of 2, where a falls to 0.25 at once.
    assert EQUAL.allocate(found, 60) == {"a": 40, "b": 20}


@cases("lost", math.inf, math.nan)
def test_sensitivity_takes_a_loss_that_is_not_finite_as_not_measured(lost) -> None:
    found = with_curves(
        a=((1.0, 1.0), (0.5, 1.5), (0.1, lost), (0.05, 1.0)), b=((1.0, 1.0), (0.1, 9.0))
    )
    assert EQUAL.allocate(found, 60) == {"a": 50, "b": 10}


def test_sensitivity_counts_densities_of_all_units_where_some_are_pruned() -> None:
    a = replace(with_curves(a=((1.0, 1.0), (0.4, 1.0), (0.2, 2.0)))["a"], alive=40)
    b = with_curves(b=((1.0, 1.0), (0.5, 3.5)))["b"]
    # A rise of 1: 20 of a, and 100 - 50 x 1 / 2.5 of b.
    assert EQUAL.allocate({"a": a, "b": b}, 100) == {"a": 20, "b": 80}
    assert EQUAL.allocate({"a": a, "b": b}, 140) == {"a": 40, "b": 100}


@pytest.mark.parametrize("seed", range(5))
def test_sensitivity_agrees_with_a_bisected_budget(seed) -> None:
    random = torch.Generator().manual_seed(seed)
    grid = (1.0, 0.8, 0.5, 0.3, 0.1)

    def curve() -> tuple[tuple[float, float], ...]:
        losses = torch.rand(5, generator=random, dtype=torch.float64).cumsum(0).tolist()
        return tuple(zip(grid, losses, strict=True))

    found = with_curves(a=curve(), b=curve(), c=curve(), d=curve())

    def density(layer: Layer, budget: float) -> float:
        assert layer.curve
        points = [(d, loss - layer.curve[0][1]) for d, loss in layer.curve]
        for (high, start), (low, end) in zip(points, points[1:], strict=False):
            if budget < end:
                return high + (low - high) * (budget - start) / (end - start)
        return points[-1][0]

    for keep in range(45, 400, 7):
        low, high = 0.0, 9.0
        for _ in range(100):
            middle = (low + high) / 2
            total = sum(100 * density(layer, middle) for layer in found.values())
            low, high = (middle, high) if total > keep else (low, middle)
        counts = EQUAL.allocate(found, keep)
        for name, layer in found.items():
            # Corners of the curves are whole units here only after rounding up.
            assert abs(counts[name] - 100 * density(layer, high)) < 2


def test_sensitivity_names_the_layer_without_a_curve() -> None:
    found = with_curves(a=((1.0, 1.0),), b=())
    with pytest.raises(ValueError, match="b has no curve.*the experiment measures curves"):
        EQUAL.allocate(found, 20)
    with pytest.raises(ValueError, match="a: the loss at density 1 is nan"):
        EQUAL.allocate(with_curves(a=((1.0, math.nan), (0.5, 1.0))), 20)
    with pytest.raises(ValueError, match="curve of a must be densities that fall from 1"):
        EQUAL.allocate(with_curves(a=((0.5, 1.0), (1.0, 1.0))), 20)


@cases("grid", [], [0.5, 0.1], [1.0, 0.5, 0.5], [1.0, 0.1, 0.2])
def test_sensitivity_refuses_a_grid_that_does_not_fall_from_one(grid) -> None:
    with pytest.raises(ValueError, match="grid must be densities that fall from 1"):
        Sensitivity(grid=grid)


@cases("grid", [1.0, 0.0], [1.0, True], [1, "x"], 1)
def test_sensitivity_refuses_a_grid_of_other_values(grid) -> None:
    with pytest.raises(ValueError, match=r"grid must be a list of numbers in \(0, 1\], got"):
        Sensitivity(grid=grid)


def test_only_sensitivity_needs_curves() -> None:
    assert component("allocation", "sensitivity").needs_curves
    assert component("allocation", "sensitivity").grid == Sensitivity().grid
    assert not component("allocation", "uniform").needs_curves


def test_sensitivity_counts_whole_units_in_spite_of_floating_point() -> None:
    # 0.55 * 100 is 55.00000000000001.
    found = with_curves(a=((1.0, 1.0), (0.55, 1.0)), b=((1.0, 1.0), (0.9, 5.0)))
    assert EQUAL.allocate(found, 155) == {"a": 55, "b": 100}


@cases(
    "keep, a, b",
    (200, 100, 100),
    (150, 50, 100),  # a gives half of it for a rise of 1, b for 2
    (125, 50, 75),
    (100, 50, 50),
    (40, 20, 20),  # below what was measured, in proportion
)
def test_least_sum_takes_first_where_the_loss_rises_least_per_unit(keep, a, b) -> None:
    found = with_curves(a=((1.0, 1.0), (0.5, 2.0)), b=((1.0, 3.0), (0.5, 5.0)))
    assert LEAST.allocate(found, keep) == {"a": a, "b": b}


def test_least_sum_spares_the_small_layer_of_two_equal_curves() -> None:
    curve = ((1.0, 0.0), (0.1, 9.0))
    found = {
        name: replace(layer, curve=curve)
        for name, layer in layers(small=[1.0] * 10, large=[1.0] * 100).items()
    }
    # A unit of the large layer is a hundredth of it, and costs a tenth of one of the small layer.
    assert LEAST.allocate(found, 20) == {"small": 10, "large": 10}
    assert EQUAL.allocate(found, 22) == {"small": 2, "large": 20}


def test_least_sum_goes_over_the_hull_of_a_curve_and_shares_equal_slopes() -> None:
    # The way to 0.2 costs a third of a rise per 10 units on average: less than the first step.
    found = with_curves(
        a=((1.0, 0.0), (0.8, 2.0), (0.2, 2.4)), b=((1.0, 0.0), (0.6, 1.2), (0.2, 9.0))
    )
    # Both cost 0.03 per unit: of 60 to remove, a gives 80 / 120 of them.
    assert LEAST.allocate(found, 140) == {"a": 60, "b": 80}
    assert LEAST.allocate(found, 80) == {"a": 20, "b": 60}


def test_least_sum_has_the_least_sum_of_all_counts() -> None:
    curves = {
        "a": ((1.0, 0.0), (0.5, 0.3), (0.25, 1.0)),
        "b": ((1.0, 0.0), (0.5, 0.1), (0.25, 2.0)),
        "c": ((1.0, 0.0), (0.5, 0.8), (0.25, 0.9)),
    }
    found = with_curves(**curves)
    at = {name: {round(100 * d): rise for d, rise in curve} for name, curve in curves.items()}
    # Totals that the corners of the hulls reach; c has none at a half.
    for keep in (300, 250, 200, 175, 100, 75):
        counts = LEAST.allocate(found, keep)
        if all(counts[name] in at[name] for name in at):
            chosen = sum(at[name][counts[name]] for name in at)
            others = [
                sum(at[name][units] for name, units in zip(at, choice, strict=True))
                for choice in product((100, 50, 25), repeat=3)
                if sum(choice) == keep
            ]
            assert chosen == pytest.approx(min(others))
