"""Tests layers that stay out of pruning, by place or name."""

from collections import OrderedDict

import pytest
import torch
from conftest import cases
from torch import Tensor, nn

import harness
from harness.allocation.base import LayerOrder
from harness.groups.units import Units
from harness.pruning.graph.graph import graph_of
from harness.pruning.prunable import exclude_layers, layer_order_of
from harness.structure.element import Element
from harness.structure.neuron import Neuron

NAMES = ("conv.weight", "fc1.weight", "fc2.weight")
UNITS: Units = Element().divide({name: torch.ones(2, 2) for name in NAMES})
PLACES = LayerOrder(tuple(UNITS), frozenset(["conv.weight"]), frozenset(["fc2.weight"]))


@cases(
    "exclude, left",
    ([], ["conv.weight", "fc1.weight", "fc2.weight"]),
    (["first"], ["fc1.weight", "fc2.weight"]),
    (["last", "first"], ["fc1.weight"]),
    (["fc1"], ["conv.weight", "fc2.weight"]),
    (["fc1.weight", "last", "fc2"], ["conv.weight"]),
)
def test_layers_are_excluded_by_place_or_name(exclude, left) -> None:
    assert list(exclude_layers(UNITS, exclude, PLACES)) == left


def test_units_that_two_layers_compute_stay_whole_if_one_is_excluded() -> None:
    model = HeadFirst()
    units = Neuron().units(model, torch.ones(2, 8))
    assert units["middle.weight"].weights == ("middle.weight", "left.weight", "right.weight")
    with pytest.raises(ValueError, match="leaves nothing to prune"):
        exclude_layers(units, ["right"], None)


def test_excluding_an_unknown_layer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="exclude names 'fc9'.*first, last, conv.weight, fc1"):
        exclude_layers(UNITS, ["fc1", "fc9"], PLACES)


def test_excluding_every_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing to prune"):
        exclude_layers(UNITS, ["first", "fc1", "last"], PLACES)


class HeadFirst(nn.Module):
    """Registers its layers back to front, reads one tensor by two layers, and has two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.head2 = nn.Linear(6, 3), nn.Linear(6, 2)
        self.middle = nn.Linear(6, 6)
        self.left, self.right = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        joined = (self.left(x[:, :4]) + self.right(x[:, 4:])).relu()
        hidden = joined + self.middle(joined).relu()
        return {"logits": self.head(hidden), "more": self.head2(hidden)}


def test_first_and_last_are_found_in_the_graph() -> None:
    model, sample = HeadFirst(), torch.ones(2, 8)
    assert layer_order_of(model, graph_of(model, sample)) == LayerOrder(
        ("left.weight", "right.weight", "middle.weight", "head.weight", "head2.weight"),
        frozenset(["left.weight", "right.weight"]),
        frozenset(["head.weight", "head2.weight"]),
    )
    scores = harness.score(model, exclude=["first", "last"], example_input=sample)
    assert list(scores) == ["middle.weight"]


def test_a_classifier_that_is_an_embedding_too_is_the_last_layer_and_nothing_more_is_spared():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.one, self.two = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Tensor) -> Tensor:
            x = self.table(ids.long())
            return self.head(x + self.two(self.one(x).relu()))

    scores = harness.score(Tied(), exclude=["last"], example_input=torch.zeros(2, 3))
    assert list(scores) == ["one.weight", "two.weight"]


@cases("head_first", True, False)
def test_a_head_that_is_the_embedding_stays_dense_whichever_is_registered_first(head_first, caplog):
    class Tied(nn.Sequential):
        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.fc(self.table(ids.long())))

    parts = {"table": nn.Embedding(9, 4), "fc": nn.Linear(4, 4)}
    head = {"head": nn.Linear(4, 9, bias=False)}
    head["head"].weight = parts["table"].weight
    model = Tied(OrderedDict({**head, **parts} if head_first else {**parts, **head}))
    caplog.set_level("INFO")
    for sample in (torch.zeros(2, 3), None):
        assert list(harness.prune(model, 0.5, example_input=sample)) == ["fc.weight"]
    assert "head" not in caplog.text


def test_a_last_layer_that_no_output_shows_is_not_guessed() -> None:
    class Answer:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    class Own(nn.Sequential):
        def forward(self, x: Tensor) -> Answer:
            return Answer(super().forward(x))

    model, sample = Own(nn.Linear(4, 4), nn.Linear(4, 2)), torch.zeros(1, 4)
    with pytest.raises(ValueError, match="exclude=last finds no layer.*give the layer's name"):
        harness.score(model, exclude=["last"], example_input=sample)
    with pytest.raises(ValueError, match="UniformPlus needs .* let the model return tensors"):
        harness.prune(model, 0.5, allocation="uniform_plus", example_input=sample)
    assert list(harness.score(model, exclude=["1"], example_input=sample)) == ["0.weight"]


def test_a_layer_that_is_left_whole_anyway_may_be_excluded() -> None:
    model, sample = HeadFirst(), torch.ones(2, 8)
    scores = harness.score(
        model, "magnitude", structure="row", exclude=["head"], example_input=sample
    )
    assert list(scores) == ["middle.weight", "left.weight", "right.weight"]
    with pytest.raises(ValueError, match="exclude names 'heed'"):
        harness.score(model, exclude=["heed"], example_input=sample)


def test_filters_are_all_pruned_where_the_last_layer_is_a_classifier() -> None:
    conv = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*conv, nn.Linear(64, 10))
    scores = harness.score(
        model, structure="filter", exclude=["last"], example_input=torch.zeros(1, 3, 8, 8)
    )
    assert list(scores) == ["0.weight", "2.weight"]


def test_a_plain_chain_needs_no_inputs_to_tell_first_and_last() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 2))
    assert list(harness.score(model, exclude=["first"])) == ["1.weight"]
    assert list(harness.score(model, exclude=["last"])) == ["0.0.weight"]


def test_in_other_models_first_and_last_need_inputs_and_names_do_not() -> None:
    with pytest.raises(
        ValueError, match="exclude=last is found by running the model.*give example"
    ):
        harness.score(HeadFirst(), exclude=["last"])
    assert "head.weight" not in harness.score(HeadFirst(), exclude=["head"])
    with pytest.raises(ValueError, match="UniformPlus needs the first and last layers"):
        harness.prune(HeadFirst(), 0.5, allocation="uniform_plus")


def test_uniform_plus_and_smart_ratio_go_by_the_graph() -> None:
    sample = torch.ones(2, 8)
    masks = harness.prune(HeadFirst(), 0.15, allocation="uniform_plus", example_input=sample)
    # ceil(0.2 x 18) and ceil(0.2 x 12) of the two heads, registered first.
    assert int(masks["head.weight"].sum()) == 4 and int(masks["head2.weight"].sum()) == 3
    masks = harness.prune(HeadFirst(), 0.3, allocation="smart_ratio", example_input=sample)
    assert int(masks["head.weight"].sum()) == round(0.3 * 18)
    assert masks["left.weight"].sum() >= masks["right.weight"].sum()
