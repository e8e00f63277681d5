"""Tests allocations that rank units: counts worked out on paper, and exact oracles."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from scored_layers import DEAD, alive, layers, random_layers

from harness.allocation.base import Layers
from harness.allocation.lamp import Lamp
from harness.allocation.layer_std import LayerStd


def test_lamp_by_hand() -> None:
    # a: 9/9, 4/13, 1/14; b: 16/16, 1/17, 1/18: of equal scores the first is the higher one.
    found = layers(a=[1.0, 3.0, 2.0], b=[1.0, 1.0, 4.0])
    kept = [Lamp().allocate(found, keep) for keep in (1, 2, 3, 4, 5)]
    assert [(counts["a"], counts["b"]) for counts in kept] == [
        (1, 0), (1, 1), (2, 1), (3, 1), (3, 2),
    ]  # fmt: skip


def lamp_order(found: Layers) -> list[str]:
    """Returns the layers of the units by falling value: the formula, unit by unit, in fractions."""
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
def test_lamp_agrees_with_exact_fractions(seed) -> None:
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
def test_layer_std_finds_hans_thresholds(quality) -> None:
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
        with pytest.raises(
            ValueError, match="quality must be a mapping of numbers above 0, got .*"
        ):
            LayerStd(quality={"a": factor})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="quality must be a mapping .*; write e.g. {conv1: 0.5}"):
        LayerStd(quality=2.0)  # type: ignore[arg-type]


def test_layer_std_takes_the_mean_square_over_the_number_of_weights() -> None:
    # Deviations 1 and 1: 1 | 0.9. Over one weight less they would be 1.41 and 1.15: 0.71 | 0.78.
    found = layers(a=[1.0, 0.0], b=[0.9, 0.0, 0.0, 0.0])
    weights = {"a": torch.tensor([-1.0, 1.0]), "b": torch.tensor([-1.0, 1.0, -1.0, 1.0])}
    found = {name: replace(layer, weight=weights[name]) for name, layer in found.items()}
    assert LayerStd().allocate(found, 1) == {"a": 1, "b": 0}
