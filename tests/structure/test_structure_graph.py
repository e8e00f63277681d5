"""Tests units of models whose modules do not show how they are used: checkpoints, ties."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from removed_units import masked
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import harness
from harness.pruning.graph.graph import graph_of
from harness.structure.neuron import Neuron
from harness.structure.row import Row

INPUTS = torch.linspace(-1, 1, 24).view(3, 8)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 36).view(2, 3, 6, 6)


class Mlp(nn.Module):
    """Layers a, b and classifier o, with what lies between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.a(x).relu())

    def tail(self, hidden: Tensor) -> Tensor:
        return self.o(self.b(hidden).relu())


class Reentrant(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.tail, self.a(x).relu(), use_reentrant=True)  # type: ignore


class Unseen(torch.autograd.Function):
    """Whose backward pass shows nothing of its forward pass."""

    @staticmethod
    def forward(ctx: object, net: Mlp, hidden: Tensor) -> Tensor:  # type: ignore[override]
        return net.tail(hidden)


class InFunction(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return Unseen.apply(self, self.a(x).relu())  # type: ignore


class WithoutGradients(Mlp):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Written(Mlp):
    """Writes its outputs into a tensor of its own, part by part."""

    def forward(self, x: Tensor) -> Tensor:
        outputs = torch.zeros(len(x), 3)
        outputs[:, :] = super().forward(x)
        return outputs


@pytest.mark.parametrize("kind", [Mlp, Reentrant, InFunction, WithoutGradients, Written])
@pytest.mark.parametrize("frozen", [False, True])
def test_hidden_layers_lose_units_and_the_classifier_none(kind, frozen) -> None:
    model = kind().requires_grad_(not frozen)

    masks = harness.prune(model, 0.6, structure="row", allocation="uniform", example_input=INPUTS)

    assert list(masks) == ["a.weight", "a.bias", "b.weight", "b.bias", "o.weight"]
    assert not masks["a.weight"].all() and not masks["b.weight"].all()
    assert model.o.weight.any(1).all() and next(model.parameters()).requires_grad is not frozen


class Outside(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.b(self.a(x).relu())
        away = torch.as_tensor(np.tanh(hidden.detach().numpy()))
        return self.o(away)


class Answer:
    """Holds outputs in a class of its own."""

    def __init__(self, hidden: Tensor, logits: Tensor) -> None:
        self.hidden, self.logits = hidden, logits


class Answering(Mlp):
    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        hidden = self.b(self.a(x).relu())
        return Answer(hidden, self.o(hidden))


class Unread(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        self.b(hidden)
        return self.o(hidden)


@pytest.mark.parametrize(
    ("kind", "whole", "reason"),
    [
        (Outside, "b", "its values leave torch"),
        (Answering, "b, o", "it is an output of the model"),
        (Unread, "b", "no layer reads it"),
    ],
)
def test_units_whose_way_to_the_outputs_is_lost_stay_and_are_named(
    kind, whole, reason, caplog
) -> None:
    with caplog.at_level(logging.INFO):
        units = Row().units(kind(), INPUTS)
    assert list(units) == ["a.weight"]
    assert f"leaves {whole} whole: {reason}" in caplog.text


class Tied(nn.Module):
    """Shares one weight between two layers, each with a bias and a norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.one, self.two = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm1, self.norm2, self.o = nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.two.weight = self.one.weight
        for bias in (self.one.bias, self.two.bias, self.norm1.bias, self.norm2.bias):
            nn.init.ones_(bias)

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.norm1(self.one(self.i(x).relu())).relu()
        return first, self.norm2(self.two(first)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.hidden(x)[1])


def test_a_unit_of_a_tied_weight_is_gone_in_all_its_layers() -> None:
    torch.manual_seed(0)  # other weights may leave a kept unit at 0 for all inputs
    model = Tied().eval()

    masks = harness.prune(model, 0.7, structure="row", example_input=INPUTS)

    vectors = {f"{layer}.bias" for layer in ("i", "one", "two", "norm1", "norm2")}
    matrices = {f"{layer}.weight" for layer in ("i", "one", "norm1", "norm2", "o")}
    assert set(masks) == vectors | matrices
    dead = ~masks["one.weight"].any(1)
    assert dead.any() and not masks["one.weight"][:, dead].any()
    for found in model.hidden(INPUTS):
        assert not found[:, dead].any() and found[:, ~dead].any(0).all()


class Autoencoder(nn.Module):
    """The second layer is the first one's weight, read the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.code, self.o = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        code = self.code(self.i(x)).relu()
        return self.o(F.linear(code, self.code.weight.t()).relu())


class TiedEmbedding(nn.Module):
    """The classifier is registered first and holds the embedding's weight."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        if before:
            self.head = nn.Linear(6, 9, bias=False)
        self.table, self.fc = nn.Embedding(9, 6), nn.Linear(6, 6)
        if not before:
            self.head = nn.Linear(6, 9, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.fc(self.table(ids.long())).relu())


def test_a_weight_that_is_also_read_the_other_way_round_loses_the_same_units_there() -> None:
    units = Neuron().units(Autoencoder(), INPUTS)
    assert masked(units) == {
        "i.weight": {"i.weight", "i.bias", "code.weight", "o.weight"},
        "code.weight": {"code.weight", "code.bias"},
    }
    model = Autoencoder()
    dead = torch.tensor([True, False, False, True, False, False])
    for name, mask in units["code.weight"].masks(~dead).items():
        model.get_parameter(name).detach().mul_(mask)
    code = model.code(model.i(INPUTS)).relu()
    assert not code[:, dead].any() and not model.code.weight[dead].any()


@pytest.mark.parametrize("before", [True, False])
def test_a_classifier_tied_to_an_embedding_keeps_its_units(before) -> None:
    model, ids = TiedEmbedding(before), torch.zeros(2, 4)
    tied = "head.weight" if before else "table.weight"
    units = Neuron().units(model, ids)
    assert tied not in units and "fc.weight" in units
    # Of the table, columns alone: an entry is never removed.
    assert units["fc.weight"].masks(torch.arange(6) > 0)[tied].any(1).all()
    assert graph_of(model, ids).outputs == {tied}


class TwoKinds(nn.Module):
    """Adds the outputs of a convolution and of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(3, 4)
        self.hidden, self.o = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        added = self.conv(x).mean((2, 3)) + self.fc(x.mean((2, 3)))
        return self.o(self.hidden(added.relu()).relu())


def test_units_that_layers_of_another_kind_compute_too_stay_whole_by_name(caplog) -> None:
    with caplog.at_level(logging.INFO):
        assert list(Neuron().units(TwoKinds(), IMAGES)) == ["hidden.weight"]
    assert "structure=neuron leaves fc whole: conv computes a part of each unit" in caplog.text
    assert list(Row().units(TwoKinds(), IMAGES)) == ["conv.weight", "hidden.weight"]
