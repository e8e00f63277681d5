"""Rules that rank units or read curves: counts worked out on paper, and exact oracles."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from conftest import component
from test_allocation import DEAD, alive, layers, random_layers

from harness.allocation.base import Layer, Layers
from harness.allocation.lamp import Lamp
from harness.allocation.layer_std import LayerStd
from harness.allocation.sensitivity import Sensitivity


def test_lamp_by_hand() -> None:
    # a: 9/9, 4/13, 1/14; b: 16/16, 1/17, 1/18: of equal scores the first is the higher one.
    found = layers(a=[1.0, 3.0, 2.0], b=[1.0, 1.0, 4.0])
    kept = [Lamp().allocate(found, keep) for keep in (1, 2, 3, 4, 5)]
    assert [(counts["a"], counts["b"]) for counts in kept] == [
        (1, 0), (1, 1), (2, 1), (3, 1), (3, 2),
    ]  # fmt: skip


def lamp_order(found: Layers) -> list[str]:
    """The layers of the units by falling value: from the formula, unit by unit, in fractions."""
    units = []
    for place, (name, layer) in enumerate(found.items()):
        live = [(-Fraction(s), i) for i, s in enumerate(layer.scores.tolist()) if s > DEAD]
        for unit in live:
            whole = sum(other[0] ** 2 for other in live if other <= unit)
            units.append((-(unit[0] ** 2 / whole) if whole else Fraction(0), place, name))
    return [name for _, _, name in sorted(units)]


def check_lamp(found: Layers) -> None:
    order = lamp_order(found)
    for keep in range(alive(found) + 1):
        best = order[:keep]
        assert Lamp().allocate(found, keep) == {name: best.count(name) for name in found}


@pytest.mark.parametrize("seed", range(4))
def test_lamp_agrees_with_exact_fractions(seed: int) -> None:
    check_lamp(random_layers(seed))


def test_lamp_does_not_lose_small_scores_beside_large_ones() -> None:
    # In float32 the sum of 1e4^2 and squares of 1e-3 is 1e4^2, and its differences are noise.
    random = torch.Generator().manual_seed(0)
    small, middling = torch.rand(2, 60, generator=random)
    check_lamp(layers(a=[1e4, *(small * 1e-3).tolist()], b=middling.tolist()))
    # In float32 the squares of both small ones are 0.
    found = layers(a=[1.0, 1e-25], b=[1.0, 3e-25])
    assert Lamp().allocate(found, 3) == {"a": 1, "b": 2}


def test_lamp_does_not_depend_on_the_scale_of_a_layer() -> None:
    found = random_layers(2)
    scales = (1e200, 1e-200, 1.0, 1e-3)
    scaled = {
        name: replace(layer, scores=layer.scores.double() * scale)
        for (name, layer), scale in zip(found.items(), scales, strict=True)
    }
    for keep in range(alive(found) + 1):
        assert Lamp().allocate(scaled, keep) == Lamp().allocate(found, keep)


def test_lamp_refuses_negative_scores() -> None:
    with pytest.raises(ValueError, match="b has negative scores.*saliency=magnitude"):
        Lamp().allocate(layers(a=[1.0], b=[DEAD, 2.0, -0.5]), 1)
    with pytest.raises(ValueError, match="b has negative scores"):
        Lamp().allocate(layers(a=[1.0], b=[0.0, -0.5]), 1)


def with_curves(**curves: tuple[tuple[float, float], ...]) -> Layers:
    """Layers of 100 units."""
    found = layers(**{name: [1.0] * 100 for name in curves})
    return {name: replace(layer, curve=curves[name]) for name, layer in found.items()}


@pytest.mark.parametrize(
    ("keep", "a", "b"),
    [
        (200, 100, 100),
        (150, 67, 83),  # b = 2/3: 1 - 0.5 x 2/3 and 1 - 0.5 x 1/3
        (125, 50, 75),  # b = 1
        (112, 50, 62),  # a has reached its least density
        (100, 50, 50),
        (40, 20, 20),  # below what was measured, in proportion
        (0, 0, 0),
    ],
)
def test_sensitivity_spends_one_rise_of_the_loss_on_all_layers(keep: int, a: int, b: int) -> None:
    # The loss rises by 1 and by 2 on the way to half the units, from different losses.
    found = with_curves(a=((1.0, 1.0), (0.5, 2.0)), b=((1.0, 3.0), (0.5, 5.0)))
    assert Sensitivity().allocate(found, keep) == {"a": a, "b": b}


def test_sensitivity_goes_through_free_ranges_together() -> None:
    found = with_curves(
        a=((1.0, 1.0), (0.6, 1.0), (0.2, 3.0)), b=((1.0, 1.0), (0.8, 0.9), (0.2, 3.0))
    )
    # 40 units of a and 20 of b cost nothing: of 30 to remove, 20 and 10.
    assert Sensitivity().allocate(found, 170) == {"a": 80, "b": 90}
    # Halfway to a rise of 2.
    assert Sensitivity().allocate(found, 90) == {"a": 40, "b": 50}


def test_sensitivity_holds_the_largest_rise_so_far() -> None:
    # At 0.25 the loss of a is back at 2, after 3 at 0.5: with a rise of 1 it may not go there.
    found = with_curves(a=((1.0, 1.0), (0.5, 3.0), (0.25, 2.0)), b=((1.0, 1.0), (0.2, 2.0)))
    assert Sensitivity().allocate(found, 95) == {"a": 75, "b": 20}
    # b has nothing left to give at a rise of 2, where a falls to 0.25 at once.
    assert Sensitivity().allocate(found, 60) == {"a": 40, "b": 20}


@pytest.mark.parametrize("lost", [math.inf, math.nan])
def test_sensitivity_takes_a_loss_that_is_not_finite_as_not_measured(lost: float) -> None:
    found = with_curves(
        a=((1.0, 1.0), (0.5, 1.5), (0.1, lost), (0.05, 1.0)), b=((1.0, 1.0), (0.1, 9.0))
    )
    assert Sensitivity().allocate(found, 60) == {"a": 50, "b": 10}


def test_sensitivity_counts_densities_of_all_units_where_some_are_pruned() -> None:
    a = replace(with_curves(a=((1.0, 1.0), (0.4, 1.0), (0.2, 2.0)))["a"], alive=40)
    b = with_curves(b=((1.0, 1.0), (0.5, 3.5)))["b"]
    # A rise of 1: 20 of a, and 100 - 50 x 1 / 2.5 of b.
    assert Sensitivity().allocate({"a": a, "b": b}, 100) == {"a": 20, "b": 80}
    assert Sensitivity().allocate({"a": a, "b": b}, 140) == {"a": 40, "b": 100}


@pytest.mark.parametrize("seed", range(5))
def test_sensitivity_agrees_with_a_bisected_budget(seed: int) -> None:
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
        counts = Sensitivity().allocate(found, keep)
        for name, layer in found.items():
            # Corners of the curves are whole units here only after rounding up.
            assert abs(counts[name] - 100 * density(layer, high)) < 2


def test_sensitivity_names_the_layer_without_a_curve() -> None:
    found = with_curves(a=((1.0, 1.0),), b=())
    with pytest.raises(ValueError, match="b has no curve.*the experiment measures curves"):
        Sensitivity().allocate(found, 20)
    with pytest.raises(ValueError, match="a: the loss at density 1 is nan"):
        Sensitivity().allocate(with_curves(a=((1.0, math.nan), (0.5, 1.0))), 20)
    with pytest.raises(ValueError, match="curve of a must be densities that fall from 1"):
        Sensitivity().allocate(with_curves(a=((0.5, 1.0), (1.0, 1.0))), 20)


@pytest.mark.parametrize(
    "grid", [[], [0.5, 0.1], [1.0, 0.5, 0.5], [1.0, 0.1, 0.2], [1.0, 0.0], [1.0, True], [1, "x"], 1]
)
def test_sensitivity_refuses_a_grid_that_does_not_fall_from_one(grid: Any) -> None:
    with pytest.raises(ValueError, match="grid must be densities that fall from 1"):
        Sensitivity(grid=grid)


def test_only_sensitivity_needs_curves() -> None:
    assert component("allocation", "sensitivity").needs_curves
    assert component("allocation", "sensitivity").grid == Sensitivity().grid
    assert not component("allocation", "uniform").needs_curves


def test_layer_std_by_hand() -> None:
    # Deviations 2 and 20: -2 2 -2 2 | -20 20 -20 20. Scores over them: 1, 4 | 0.5, 2.
    found = layers(a=[2.0, 8.0], b=[10.0, 40.0])
    weights = {"a": torch.tensor([-2.0, 2.0]), "b": torch.tensor([-20.0, 20.0])}
    found = {name: replace(layer, weight=weights[name]) for name, layer in found.items()}
    kept = [LayerStd().allocate(found, keep) for keep in (1, 2, 3)]
    assert kept == [{"a": 1, "b": 0}, {"a": 1, "b": 1}, {"a": 2, "b": 1}]
    # Half the threshold for b: 1, 4 | 1, 4; of equal ones the first layer's.
    halved = LayerStd(quality={"b": 0.5}).allocate(found, 2)
    assert halved == {"a": 1, "b": 1}
    # A quarter: 1, 4 | 2, 8.
    assert LayerStd(quality={"b": 0.25}).allocate(found, 1) == {"a": 0, "b": 1}
    assert LayerStd(quality={"b": 0.25}).allocate(found, 3) == {"a": 1, "b": 2}


@pytest.mark.parametrize("quality", [0.3, 1.0, 2.0])
def test_layer_std_finds_hans_thresholds(quality: float) -> None:
    random = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(500, generator=random) * scale + 0.1
        for name, scale in {"a": 0.01, "b": 1.0, "c": 30.0}.items()
    }
    found = layers(**{name: weight.abs().tolist() for name, weight in weights.items()})
    found = {name: replace(layer, weight=weights[name]) for name, layer in found.items()}
    above = {
        name: int((weight.abs() > quality * weight.double().std(correction=0)).sum())
        for name, weight in weights.items()
    }
    assert LayerStd().allocate(found, sum(above.values())) == above


def test_layer_std_leaves_pruned_weights_out_of_the_deviation() -> None:
    # Live weights 1 and 3 of a: deviation 1 about their mean; with the zeros 1.22.
    found = layers(a=[1.0, 3.0, DEAD, DEAD], b=[2.5, 0.0])
    b = replace(found["b"], weight=torch.tensor([[0.9], [-0.9]]))
    # 3, 1 | 2.8, 0; with the zeros of a 2.45, 0.8 | 2.8, 0.
    assert LayerStd().allocate(found | {"b": b}, 1) == {"a": 1, "b": 0}


def test_layer_std_keeps_a_layer_of_equal_weights_first() -> None:
    found = layers(a=[9.0, 5.0], b=[0.1] * 3, c=[0.7, DEAD], d=[DEAD])
    assert LayerStd().allocate(found, 4) == {"a": 0, "b": 3, "c": 1, "d": 0}
    assert LayerStd().allocate(found, 5) == {"a": 1, "b": 3, "c": 1, "d": 0}


def test_layer_std_refuses_what_it_cannot_use() -> None:
    found = layers(a=[1.0], b=[1.0])
    with pytest.raises(ValueError, match="quality names 'c', which fits no layer"):
        LayerStd(quality={"a": 1.0, "c": 2.0}).allocate(found, 1)
    with pytest.raises(ValueError, match="needs the weight of b"):
        LayerStd().allocate(found | {"b": replace(found["b"], weight=None)}, 1)
    for factor in (0, -1.0, math.inf, math.nan, "x", True):
        with pytest.raises(ValueError, match="quality: a must be a factor > 0"):
            LayerStd(quality={"a": factor})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="quality must map layers to factors"):
        LayerStd(quality=2.0)  # type: ignore[arg-type]


def test_layer_std_takes_the_mean_square_over_the_number_of_weights() -> None:
    # Deviations 1 and 1: 1 | 0.9. Over one weight less they would be 1.41 and 1.15: 0.71 | 0.78.
    found = layers(a=[1.0, 0.0], b=[0.9, 0.0, 0.0, 0.0])
    weights = {"a": torch.tensor([-1.0, 1.0]), "b": torch.tensor([-1.0, 1.0, -1.0, 1.0])}
    found = {name: replace(layer, weight=weights[name]) for name, layer in found.items()}
    assert LayerStd().allocate(found, 1) == {"a": 1, "b": 0}


def test_sensitivity_counts_whole_units_in_spite_of_floating_point() -> None:
    # 0.55 * 100 is 55.00000000000001.
    found = with_curves(a=((1.0, 1.0), (0.55, 1.0)), b=((1.0, 1.0), (0.9, 5.0)))
    assert Sensitivity().allocate(found, 155) == {"a": 55, "b": 100}
