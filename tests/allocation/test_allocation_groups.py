"""Allocations that read groups: scores per cost, classes of equal topology, largest shares."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from scored_layers import DEAD, layers
from torch import Tensor, nn

from harness.allocation.base import Layers, ModelInfo, Unreachable
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.isomorphic import Isomorphic
from harness.allocation.uniform import Uniform
from harness.groups.group import topology
from harness.groups.units import equal_scores
from harness.pruning.budget import RequestedSize
from harness.pruning.density import layers_of
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.saliency.magnitude import Magnitude
from harness.saliency.movement import Movement
from harness.structure.element import Element
from harness.structure.group import Group


def chain() -> nn.Sequential:
    """Returns layers of 3 and 2 hidden units."""
    return nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))


MACS = ModelInfo(macs={"0.weight": 3, "2.weight": 6, "4.weight": 4})


def read(
    model: nn.Module,
    structure: Any,
    masks: dict[str, Tensor] | None = None,
    info: ModelInfo = MACS,
) -> Layers:
    units = structure.units(model, torch.ones(2, 1))
    return layers_of(equal_scores(units, model), model, units, info, masks)


def costs(found: Layers) -> dict[str, tuple[int, int]]:
    return {name: (each.parameters_removed, each.macs_removed) for name, each in found.items()}


def test_a_unit_costs_its_row_its_bias_and_the_columns_that_read_it() -> None:
    # 1 + 1 + 2 columns and 1 + 2 products; 3 + 1 + 2 and 3 + 2.
    assert costs(read(chain(), Group())) == {"0.weight": (4, 3), "2.weight": (6, 5)}


def test_costs_are_those_of_the_network_that_is_left() -> None:
    model, structure = chain(), Group()
    units = structure.units(model, torch.ones(2, 1))
    store = make_mask_store(model, units)
    store.shrink_to(units["0.weight"].masks(torch.tensor([True, False, False])))
    # A unit of the second layer has one input left: 1 + 1 + 2 and 1 + 2.
    assert costs(read(model, structure, store.masks)) == {"0.weight": (4, 3), "2.weight": (4, 3)}


def test_single_weights_cost_themselves() -> None:
    found = read(chain(), Element())
    assert {name: each.parameters_removed for name, each in found.items()} == dict.fromkeys(
        found, 1
    )


@pytest.mark.parametrize(
    ("per", "kept"),
    [
        ("unit", [(0, 1), (0, 2), (1, 2)]),
        # 8 / 4 = 2, 6 / 4 = 1.5 | 10 / 10 = 1, 9 / 10.
        ("parameter", [(1, 0), (2, 0), (2, 1)]),
        # 8 / 2 = 4, 6 / 2 = 3 | 10 / 3 = 3.3, 9 / 3 = 3; of equal ones the first layer's.
        ("mac", [(1, 0), (1, 1), (2, 1)]),
    ],
)
def test_scores_per_cost_by_hand(per, kept) -> None:
    found = layers(a=[8.0, 6.0, DEAD], b=[10.0, 9.0])
    found = {
        "a": replace(found["a"], parameters_removed=4, macs_removed=2),
        "b": replace(found["b"], parameters_removed=10, macs_removed=3),
    }
    counts = [GlobalRanking(per=per).allocate(found, keep) for keep in (1, 2, 3)]
    assert [(each["a"], each["b"]) for each in counts] == kept


def test_units_that_cost_nothing_stay_first_and_pruned_ones_never() -> None:
    found = layers(a=[8.0, 6.0], b=[1.0, DEAD])
    found = {**found, "a": replace(found["a"], macs_removed=1)}
    ranking = GlobalRanking(per="mac")
    assert [ranking.allocate(found, keep) for keep in (1, 2)] == [
        {"a": 0, "b": 1}, {"a": 1, "b": 1}
    ]  # fmt: skip


def test_signed_scores_have_no_quotient_and_unknown_products_no_cost() -> None:
    with pytest.raises(ValueError, match="GlobalRanking needs unsigned scores"):
        Pruner(Movement(), Group(), GlobalRanking(per="parameter"))
    pruner, model = Pruner(Magnitude(), Group(), GlobalRanking(per="mac")), chain()
    units = Group().units(model, torch.ones(2, 1))
    info = replace(MACS, uncounted={"aten.mine": ["0"]})
    with pytest.raises(ValueError, match=r"allocation.per=mac cannot .*use allocation.per=param"):
        pruner.check(RequestedSize(3, "units"), model, units, info)


class Blocks(nn.Module):
    """Adds two residual blocks of other inner widths to a stream, and ends in a wide layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(1, 4)
        self.in1, self.out1 = nn.Linear(4, 6), nn.Linear(6, 4)
        self.in2, self.out2 = nn.Linear(4, 2), nn.Linear(2, 4)
        self.conv, self.fc = nn.Conv1d(1, 3, 1), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.out1(self.in1(x).relu())
        x = x + self.out2(self.in2(x).relu())
        return self.fc(self.conv(x[:, None]).flatten(1))


def test_inner_widths_of_all_blocks_are_one_class_and_the_stream_is_another() -> None:
    found = read(Blocks(), Group(), info=ModelInfo())
    classes: dict[object, list[str]] = {}
    for name, each in found.items():
        classes.setdefault(each.topology, []).append(name)
    assert ["in1.weight", "in2.weight"] in classes.values()
    assert ["conv.weight"] in classes.values()


class Swapped(nn.Module):
    """Has the layers of two blocks registered in another order each."""

    def __init__(self) -> None:
        super().__init__()
        self.in1, self.norm1 = nn.Linear(1, 6), nn.BatchNorm1d(6)
        self.norm2, self.in2 = nn.BatchNorm1d(3), nn.Linear(1, 3)
        self.out1, self.out2 = nn.Linear(6, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.norm1(self.in1(x)), self.norm2(self.in2(x))
        return self.out1(one.relu()) + self.out2(two.relu())  # type: ignore[no-any-return]


def test_the_order_of_registration_makes_no_other_class() -> None:
    found = read(Swapped(), Group(), info=ModelInfo())
    assert found["in1.weight"].topology == found["in2.weight"].topology


def test_classes_of_heads_single_weights_and_blocks() -> None:
    members = read(chain(), Group())["0.weight"], chain()
    group = Group().units(members[1], torch.ones(2, 1))["0.weight"].group
    assert topology(group, members[1]) == members[0].topology
    assert topology(replace(group, attention="head"), members[1]) != members[0].topology
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 1))
    single = Element().units(model, torch.ones(2, 1, 2))
    classes = [each.topology(model) for each in single.values()]
    assert classes[0] != classes[1] == classes[2]


def test_classes_keep_equal_fractions_and_compete_inside() -> None:
    found = layers(a=[1.0, 2.0, 3.0, 4.0], b=[5.0, 6.0, 7.0, 8.0], c=[100.0, 90.0, 80.0, 70.0])
    found["c"] = replace(found["c"], topology=("another",))
    # 6 of 12 are half of each class: of a and b the best 4, of c 2.
    assert Isomorphic().allocate(found, 6) == {"a": 0, "b": 4, "c": 2}
    assert GlobalRanking().allocate(found, 6) == {"a": 0, "b": 2, "c": 4}
    # A floor of a: the rest, 4, is 2 of b and 2 of c.
    assert Isomorphic(min_units=2).allocate(found, 6) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("floors", "least"),
    [
        ({"max_share": 0.3}, {"a": 7, "b": 3}),  # 7, and 2.1 rounded up
        ({"max_share": 0.3, "min_density": 0.8}, {"a": 8, "b": 3}),
        ({"max_share": 0.9, "min_units": 2}, {"a": 2, "b": 2}),
        ({"max_share": 1.0}, {"a": 0, "b": 0}),
        ({"max_share": 0.0}, {"a": 10, "b": 3}),
    ],
)
def test_the_largest_of_all_floors_holds(floors, least) -> None:
    found = layers(a=[1.0] * 10, b=[1.0] * 3)
    assert GlobalRanking(**floors).floors(found) == least


def test_what_is_pruned_already_counts_in_the_share() -> None:
    found = layers(a=[1.0, 2.0, 3.0, DEAD], b=[9.0] * 4)
    assert GlobalRanking(max_share=0.5).allocate(found, 5) == {"a": 2, "b": 3}


def test_a_density_below_the_largest_share_is_refused_with_the_smallest_there_is() -> None:
    found = layers(a=[1.0] * 10, b=[1.0] * 3)
    says = r"cannot keep 9 of 13 units: the floors of .* max_share hold 10; .* is 0.769231$"
    with pytest.raises(Unreachable, match=says):
        Uniform(max_share=0.3).allocate(found, 9)
    with pytest.raises(ValueError, match=r"max_share must be a number in \[0, 1\], got 30"):
        Uniform(max_share=30)
