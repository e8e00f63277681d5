"""Tests what the graph shows where modules' order and names do not: checkpoints, ties, shuffles."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import harness
from harness.pruning.graph.graph import graph_of
from harness.structure.filter import Filter
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

    assert list(masks) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert not masks["a.weight"].all() and not masks["b.weight"].all()
    assert model.o.weight.all() and next(model.parameters()).requires_grad is not frozen


def test_units_whose_way_to_the_outputs_leaves_torch_are_left_and_named(caplog) -> None:
    class Outside(Mlp):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.b(self.a(x).relu())
            away = torch.as_tensor(np.tanh(hidden.detach().numpy()))
            return self.o(away)

    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="nothing to prune"):
        Row().units(Outside(), INPUTS)
    assert "does not prune a, b: no path is found from it to the model's outputs" in caplog.text


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


def test_a_unit_of_a_tied_weight_takes_the_biases_and_norms_of_all_its_layers() -> None:
    torch.manual_seed(0)  # other weights may leave a kept unit at 0 for all inputs
    model = Tied().eval()

    masks = harness.prune(model, 0.7, structure="row", exclude=["i"], example_input=INPUTS)

    along = {f"{layer}.bias" for layer in ("one", "two", "norm1", "norm2")}
    assert set(masks) == {"one.weight", "norm1.weight", "norm2.weight"} | along
    dead = ~masks["one.weight"].any(1)
    assert dead.any()
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


def test_a_weight_that_is_also_read_the_other_way_round_keeps_its_units(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(Neuron().units(Autoencoder(), INPUTS)) == ["i.weight"]
    assert "structure=neuron does not prune code: the weight is used elsewhere too" in caplog.text


@pytest.mark.parametrize("before", [True, False])
def test_a_classifier_tied_to_an_embedding_keeps_its_units(before) -> None:
    model, ids = TiedEmbedding(before), torch.zeros(2, 4)
    tied = "head.weight" if before else "table.weight"
    assert list(Neuron().units(model, ids)) == ["fc.weight"]
    assert graph_of(model, ids).outputs == {tied}


class Between(nn.Module):
    """A convolution of 4 filters, a way of its own, a norm of 4, and a classifier."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(6 if way == "beside" else 4)
        self.o = nn.Linear(6 if way == "beside" else 4, 2)
        nn.init.ones_(self.norm.bias)

    def normed(self, x: Tensor) -> Tensor:
        x, side = self.conv(x), self.side(x)
        if self.way == "beside":
            x = torch.cat([side, x], 1)
        if self.way == "shuffle":
            x = x.view(len(x), 2, 2, 6, 6).transpose(1, 2).flatten(1, 2)
        if self.way == "halves":
            x = torch.cat([x[:, 2:], x[:, :2]], 1)
        if self.way == "roll":
            x = x.roll(1, 1)
        if self.way == "index":
            x = x[:, [3, 2, 1, 0]]
        if self.way == "whole":
            x = torch.ops.aten.slice(x, 1)
        if self.way == "last":
            # Every step keeps each filter in its place.
            x = F.pad(F.max_pool2d(x.relu(), 2), (1, 1)).flatten(2).transpose(1, 2)
            x = x.reshape(-1, 4)[:, :, None, None] * 2
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.normed(x).mean((2, 3)))


@pytest.mark.parametrize("way", ["shuffle", "halves", "roll", "index", "beside"])
def test_filters_whose_norm_is_in_another_order_stay_whole_and_are_named(way, caplog) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="nothing to prune"):
        Filter().units(Between(way), IMAGES)
    assert (
        "conv" in caplog.text and "units reach norm.bias in another order or number" in caplog.text
    )


@pytest.mark.parametrize("way", ["straight", "last", "whole"])
def test_filters_whose_norm_is_in_their_order_take_it_along(way) -> None:
    model = Between(way).eval()
    masks = harness.prune(model, 0.5, structure="filter", example_input=IMAGES)
    dead = ~masks["conv.weight"].flatten(1).any(1)
    assert masks["norm.bias"].tolist() == (~dead).tolist() and dead.sum() == 2
    found = model.normed(IMAGES).transpose(0, 1).flatten(1)
    assert not found[dead].any() and found[~dead].any(1).all()


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)])
def test_norms_that_reshape_inside_go_along(norm) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    assert Filter().units(model, IMAGES) == {"0.weight": ("0.bias", "2.weight", "2.bias")}


def test_a_norm_that_is_written_out_goes_along() -> None:
    class WrittenOut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.o = nn.Linear(8, 4), nn.Linear(4, 2)
            self.scale, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x = (x - x.mean(-1, keepdim=True)) * x.var(-1, keepdim=True).add(1e-5).rsqrt()
            return self.o(x * self.scale + self.shift)

    assert Neuron().units(WrittenOut(), INPUTS) == {"a.weight": ("a.bias", "shift", "scale")}
