"""Rules that share in proportion: counts worked out on paper, and RigL's iteration."""

import math
from dataclasses import replace
from typing import Any

import pytest
from conftest import cases
from scored_layers import alive, layers, network

from harness.allocation.balanced import Balanced
from harness.allocation.base import Layers
from harness.allocation.er import Er
from harness.allocation.erk import Erk
from harness.allocation.smart_ratio import SmartRatio
from harness.allocation.uniform_plus import UniformPlus
from harness.vocabulary.apportion import reserve

# Of a small residual network: dense, wide and 1x1 convolutions, a depthwise one, a classifier.
SHAPES = {
    "conv1.weight": (16, 3, 3, 3), "conv2.weight": (32, 16, 3, 3), "conv3.weight": (32, 1, 3, 3),
    "conv4.weight": (64, 32, 1, 1), "fc.weight": (10, 64),
}  # fmt: skip


def without(found: Layers, *names: str) -> Layers:
    return {name: layer for name, layer in found.items() if name not in names}


PLUS = network({"conv": (10, 1, 1, 1), "hidden": (10, 10), "out": (2, 10)})


def test_uniform_plus_keeps_the_first_convolution_dense() -> None:
    # 10 and 30 for 100 : 20 units.
    assert UniformPlus().allocate(PLUS, 40) == {"conv": 10, "hidden": 25, "out": 5}


def test_uniform_plus_keeps_a_fifth_of_the_classifier() -> None:
    # 12 for 100 : 20 would be 10 and 2; a fifth of 20 is 4.
    assert UniformPlus().allocate(PLUS, 22) == {"conv": 10, "hidden": 8, "out": 4}
    assert UniformPlus(classifier=0.0).allocate(PLUS, 22) == {"conv": 10, "hidden": 10, "out": 2}


def test_uniform_plus_shrinks_both_in_proportion_when_they_are_too_many() -> None:
    assert UniformPlus().allocate(PLUS, 14) == {"conv": 10, "hidden": 0, "out": 4}
    assert UniformPlus().allocate(PLUS, 7) == {"conv": 5, "hidden": 0, "out": 2}
    assert UniformPlus(min_units=1).allocate(PLUS, 8) == {"conv": 5, "hidden": 1, "out": 2}


@cases("rule", UniformPlus(), SmartRatio(), ids=["uniform_plus", "smart_ratio"])
def test_a_classifiers_share_is_at_most_what_is_alive_in_it(rule) -> None:
    found = PLUS | {"out": replace(PLUS["out"], alive=1)}
    for keep in range(alive(found) + 1):
        counts = rule.allocate(found, keep)
        assert sum(counts.values()) == keep
        assert counts["out"] <= 1


def test_uniform_plus_goes_by_the_place_in_the_model() -> None:
    # Without its first layer no convolution is dense, without its last there is no classifier.
    found = network({"conv1": (10, 1, 1), "conv2": (10, 1, 1), "fc1": (2, 5), "fc2": (2, 5)})
    part = without(found, "conv1", "fc2")
    assert UniformPlus().allocate(part, 10) == {"conv2": 5, "fc1": 5}


def test_uniform_plus_of_linear_layers_has_no_dense_one() -> None:
    found = network({"fc1": (10, 10), "fc2": (2, 10)})
    # 6 would be 5 and 1.
    assert UniformPlus().allocate(found, 6) == {"fc1": 2, "fc2": 4}


def test_erk_densities_by_hand() -> None:
    found = network({"conv": (4, 2, 3, 3), "fc": (10, 20)})
    # Sum over product of dimensions: 12 / 72 and 30 / 200. Densities 1/3 and 0.3.
    assert Erk().allocate(found, 84) == {"conv": 24, "fc": 60}


def test_er_ignores_the_kernel() -> None:
    found = network({"conv": (4, 2, 3, 3), "fc": (10, 20)})
    # (4 + 2) / 8 and 30 / 200 are as 5 : 1. Densities 0.25 and 0.05.
    assert Er().allocate(found, 28) == {"conv": 18, "fc": 10}


def test_erk_solves_eps_again_when_a_layer_is_full() -> None:
    found = network({"small": (2, 2), "wide": (30, 10), "wider": (60, 10)})
    # 4 : 40 : 70 of 119 would fill small beyond its 4; 115 go 40 : 70.
    assert Erk().allocate(found, 119) == {"small": 4, "wide": 42, "wider": 73}


def test_erk_gives_rows_the_density_of_the_weight() -> None:
    found = network({"conv": (4, 2, 3, 3), "fc": (10, 20)}, rows=True)
    # Densities 1/6 : 3/20 of 4 and 10 rows are 4 : 9 rows.
    assert Erk().allocate(found, 13) == {"conv": 4, "fc": 9}
    assert Er().allocate(found, 9) == {"conv": 4, "fc": 5}


def rigl_densities(shapes: dict[str, tuple[int, ...]], kernel: bool, density: float) -> Any:
    """Returns densities as RigL's code does.

    The layers of the largest ratio become dense until eps is valid.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    counted = {name: shape if kernel else shape[:2] for name, shape in shapes.items()}
    ratio = {name: sum(dims) / math.prod(dims) for name, dims in counted.items()}
    dense: set[str] = set()
    while True:
        left = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        eps = left / sum(ratio[name] * sizes[name] for name in sizes if name not in dense)
        largest = max(value for name, value in ratio.items() if name not in dense)
        if eps * largest <= 1:
            return {name: 1.0 if name in dense else eps * ratio[name] for name in sizes}
        dense |= {name for name, value in ratio.items() if value == largest}


@cases("rule, kernel", (Erk(), True), (Er(), False))
@cases("density", 0.9, 0.5, 0.2, 0.1, 0.02)
def test_erdos_renyi_agrees_with_rigls_iteration(rule, kernel, density) -> None:
    found = network(SHAPES)
    keep = round(density * alive(found))
    expected = rigl_densities(SHAPES, kernel, keep / alive(found))
    counts = rule.allocate(found, keep)
    for name, layer in found.items():
        assert abs(counts[name] - expected[name] * layer.units) < 1


def test_balanced_keeps_the_same_number_everywhere() -> None:
    found = layers(a=[1.0] * 2, b=[1.0] * 10, c=[1.0] * 90)
    assert Balanced().allocate(found, 5) == {"a": 2, "b": 2, "c": 1}
    assert Balanced().allocate(found, 12) == {"a": 2, "b": 5, "c": 5}
    assert Balanced().allocate(found, 13) == {"a": 2, "b": 6, "c": 5}
    assert Balanced().allocate(found, 30) == {"a": 2, "b": 10, "c": 18}


SMART = network({"c1": (10, 1, 1), "c2": (10, 10, 1), "c3": (10, 10, 1), "fc": (2, 10)})


def test_smart_ratio_by_hand() -> None:
    # (L - l + 1)^2 + (L - l + 1) = 20, 12, 6 of L = 4; eps 1/20: densities 1, 0.6, 0.3; fc 0.3.
    assert SmartRatio().allocate(SMART, 106) == {"c1": 10, "c2": 60, "c3": 30, "fc": 6}
    # 53 - 6 go 200 : 1200 : 600.
    assert SmartRatio().allocate(SMART, 56) == {"c1": 5, "c2": 30, "c3": 15, "fc": 6}


def test_smart_ratio_fills_and_solves_again() -> None:
    # 190 beside fc and the full c1 go 12 : 6, and c2 is full too.
    assert SmartRatio().allocate(SMART, 146) == {"c1": 10, "c2": 87, "c3": 43, "fc": 6}
    assert SmartRatio().allocate(SMART, 176) == {"c1": 10, "c2": 100, "c3": 60, "fc": 6}
    assert SmartRatio().allocate(SMART, 220) == {"c1": 10, "c2": 100, "c3": 100, "fc": 10}


def test_smart_ratio_gives_the_classifier_what_there_is_when_it_is_too_little() -> None:
    assert SmartRatio().allocate(SMART, 4) == {"c1": 0, "c2": 0, "c3": 0, "fc": 4}
    assert SmartRatio(min_units=1).allocate(SMART, 6) == {"c1": 1, "c2": 1, "c3": 1, "fc": 3}


def test_smart_ratio_goes_by_the_place_in_the_model() -> None:
    # c1 and c3 are 20 : 6 also without c2.
    part = without(SMART, "c2", "fc")
    assert SmartRatio().allocate(part, 40) == {"c1": 10, "c3": 30}
    assert SmartRatio().allocate(part, 16) == {"c1": 4, "c3": 12}


def test_smart_ratio_gives_hidden_linear_layers_the_formula() -> None:
    found = network({"fc1": (10, 10), "fc2": (10, 10), "fc3": (2, 10)})
    # 12 : 6, and 0.5 of fc3.
    assert SmartRatio(linear=0.5).allocate(found, 100) == {"fc1": 60, "fc2": 30, "fc3": 10}


@cases("rule, key", (SmartRatio, "linear"), (UniformPlus, "classifier"), ids=str)
@cases("value", -0.1, 30, "x", True)
def test_a_share_of_the_classifier_out_of_range_is_refused(rule, key, value) -> None:
    with pytest.raises(
        ValueError, match=rf"{key} must be a number in \[0, 1\], got {value!r}; is it a perc"
    ):
        rule(**{key: value})


def test_what_is_reserved_comes_first_and_sums_exactly() -> None:
    room = {"a": 3, "b": 5, "c": 4}
    for total in range(13):
        counts = reserve(total, {"b": 2}, {"a": 1, "b": 1, "c": 2}, room)
        assert sum(counts.values()) == total
        assert counts["b"] == (total if total < 2 else max(2, total - 7))


def test_uniform_plus_rounds_the_classifiers_share_up() -> None:
    # Uniform would leave 0.5 of 11; at least 20 % are 2.2, and 2 would be 18 %.
    found = layers(a=[1.0] * 440, b=[1.0] * 11)
    assert found["b"].is_classifier
    assert UniformPlus().allocate(found, 22) == {"a": 19, "b": 3}
