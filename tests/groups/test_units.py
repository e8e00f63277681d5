"""Tests scores, sizes and masks of the units of a group, written here by hand."""

import pytest
import torch
from torch import Tensor, nn

from harness.groups.compact import compact_model
from harness.groups.find import groups_of
from harness.groups.group import Group, Member, alive_in, living_units
from harness.groups.pooling import Pooling
from harness.groups.units import GroupUnits, masks_of


class Stream(nn.Module):
    """Adds to a stream what a layer computes of it: the layer's rows and columns are one group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.head = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + torch.relu(self.inner(x)))


SCORES = {
    "stem.weight": torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
    "inner.weight": torch.tensor([[4.0, 5.0], [7.0, 9.0]]),
}


def units_of_stream(pool_by: Pooling = "sum") -> GroupUnits:
    model = Stream()
    group = next(group for group in groups_of(model, torch.randn(2, 3)) if not group.pinned)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return GroupUnits(group, ("stem.weight", "inner.weight"), pool_by, shapes)


@pytest.mark.parametrize(
    ("pool_by", "expected"),
    [("sum", [15.0, 16.0]), ("mean", [3.0, 3.2]), ("l2", [55**0.5, 130**0.5]), ("max", [5.0, 9.0])],
)
def test_rows_of_all_layers_are_pooled_and_no_columns(pool_by, expected) -> None:
    assert units_of_stream(pool_by).pool(SCORES).tolist() == pytest.approx(expected)


def test_a_unit_costs_its_rows_and_biases() -> None:
    assert units_of_stream().size == 3 + 1 + 2 + 1


def test_masks_cover_columns_and_masks_of_rows_do_not() -> None:
    units, kept = units_of_stream(), torch.tensor([True, False])
    assert {name: mask.tolist() for name, mask in units.row_masks(kept).items()} == {
        "stem.weight": [[True] * 3, [False] * 3],
        "inner.weight": [[True, True], [False, False]],
    }
    masks = units.masks(kept)
    assert masks["inner.weight"].tolist() == [[True, False], [False, False]]
    assert masks["head.weight"].tolist() == [[True, False]] * 2
    assert masks["stem.bias"].tolist() == masks["inner.bias"].tolist() == [True, False]


def test_masks_of_two_groups_and_those_in_force_all_hold() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    groups = [group for group in groups_of(model, torch.randn(2, 3)) if not group.pinned]
    units = {
        f"{g.name}.weight": GroupUnits(g, (f"{g.name}.weight",), "sum", shapes) for g in groups
    }
    kept = {"0.weight": torch.tensor([True, False]), "2.weight": torch.tensor([True, True, False])}
    before = torch.ones(3, 2, dtype=torch.bool)
    before[0, 0] = False

    masks = masks_of(units, kept, {"2.weight": before})

    assert masks["2.weight"].tolist() == [[False, False], [True, False], [False, False]]
    assert masks["4.weight"].tolist() == [[True, True, False]]


def test_a_unit_whose_bias_has_no_mask_lives() -> None:
    units = units_of_stream()
    masks, parameters = units.row_masks(torch.tensor([True, False])), Stream().state_dict()
    biases = {f"{layer}.bias": torch.tensor([True, False]) for layer in ("stem", "inner")}
    assert living_units([units.group], masks, parameters)["stem"].all()
    assert living_units([units.group], masks | biases, parameters)["stem"].tolist() == [True, False]


def test_a_unit_lives_while_one_entry_of_one_layer_does() -> None:
    group = units_of_stream().group
    kept = {
        "stem.weight": torch.zeros(2, 3),
        "inner.weight": torch.tensor([[0.0, 2.0], [0.0, 0.0]]),
    }
    assert alive_in(group, kept).tolist() == [True, False]
    heads = Group("w", 2, (Member("w", 0, torch.tensor([[0, 1], [2, 3]]), "output"),))
    assert alive_in(heads, {"w": torch.tensor([0.0, 1.0, 0.0, 0.0])}).tolist() == [True, False]


def test_masked_units_of_a_pinned_group_stay_as_zeros() -> None:
    model, inputs = Stream(), torch.randn(2, 3)
    masks = {"head.weight": torch.ones(2, 2, dtype=torch.bool), "head.bias": torch.ones(2) > 0}
    for mask in masks.values():
        mask[0] = False
    compacted = compact_model(model, masks, groups_of(model, inputs), inputs)
    assert compacted.model.head.out_features == 2 and not compacted.kept_indices
    assert not compacted.model(inputs)[:, 0].any() and compacted.model(inputs)[:, 1].all()
