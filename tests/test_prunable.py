"""Layers that stay out of pruning, by place or name."""

import pytest

from harness.prunable import without
from harness.structure.base import Units

UNITS: Units = {"conv.weight": ("conv.bias",), "fc1.weight": (), "fc2.weight": ()}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([], ["conv.weight", "fc1.weight", "fc2.weight"]),
        (["first"], ["fc1.weight", "fc2.weight"]),
        (["last", "first"], ["fc1.weight"]),
        (["fc1"], ["conv.weight", "fc2.weight"]),
        (["fc1.weight", "last", "fc2"], ["conv.weight"]),
    ],
)
def test_layers_are_excluded_by_place_or_name(exclude: list[str], left: list[str]) -> None:
    assert list(without(UNITS, exclude)) == left


def test_what_goes_along_with_a_layer_that_stays_in_is_kept() -> None:
    assert without(UNITS, ["last"])["conv.weight"] == ("conv.bias",)


def test_excluding_an_unknown_layer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="exclude names 'fc9'.*first, last, conv.weight, fc1"):
        without(UNITS, ["fc1", "fc9"])


def test_excluding_every_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing to prune"):
        without(UNITS, ["first", "fc1", "last"])
