"""Tests that what no rule covers is named, and forms that revive pruned weights are refused."""

import logging

import pytest
import torch
import torch.ao.quantization as quantization
import torch.nn.functional as F
from conftest import cases
from removed_units import reach_outputs
from torch import Tensor, nn

import harness
from harness.structure.filter import Filter

IMAGES, INPUTS = torch.linspace(-1, 1, 2 * 3 * 36).view(2, 3, 6, 6), torch.ones(2, 8)


class Own(nn.Conv2d):
    """Convolves with a tensor that is made of the weight in some way."""

    way = "standardised"

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        made = {
            "standardised": lambda: (w - w.mean((1, 2, 3), keepdim=True)) / w.std(),
            "low rank": lambda: w + (torch.ones(4, 1) @ torch.ones(1, 27)).view_as(w),
            "sign of shifted": lambda: (w - 0.1).sign(),
            "other layer's": lambda: w + self.get_buffer("other"),
            "scaled": lambda: w / (w.norm() + 1),
            "spectral": lambda: w / (w.flatten(1) @ torch.ones(27)).norm(),
            "quantised": lambda: w + ((w * 8).round().clamp(-8, 8) / 8 - w).detach(),
            "flipped": lambda: (w + w.flip(-1)) / 2,
            "fake quantised": lambda: torch.fake_quantize_per_tensor_affine(w, 0.1, 0, -128, 127),
            "by channel": lambda: torch.fake_quantize_per_channel_affine(
                w, torch.full((4,), 0.1), torch.zeros(4, dtype=torch.int32), 0, -128, 127
            ),
            "grouped": lambda: w + ((w.reshape(-1, 9) * 8).round().view_as(w) / 8 - w).detach(),
            "product": lambda: w * w.flip(-1).abs(),
            "both flipped": lambda: w.flip(-1) + w.flip(-1).tanh(),
            "masked": lambda: w * self.get_buffer("other"),
            "triangle": lambda: w.tril().triu(-1),
            "ternary": lambda: torch.where(w.abs() > 0.1, w.sign(), 0.0),
            "ternary of zeros": lambda: torch.where(w > 0.1, w, torch.zeros_like(w)),
            "max-norm": lambda: w.renorm(2, 0, 1.0),
            "floored": lambda: torch.div(w, 0.1, rounding_mode="floor"),
            "partly filled": lambda: w.clone().index_fill_(0, torch.tensor([1]), 0.0),
            "binary": lambda: torch.where(w > 0.1, 1.0, -1.0),
            "small ones filled": lambda: torch.where(w.abs() < 0.01, 5.0, w),
            "cast": lambda: w.double().transpose(2, 3).contiguous().transpose(2, 3).float(),
        }[self.way]()
        return F.conv2d(x, made, self.bias)


ZEROED = ["triangle", "ternary", "ternary of zeros", "max-norm", "floored", "partly filled"]
QUANTISED = ["fake quantised", "by channel", "grouped", "product", "both flipped"]


def network(way: str) -> nn.Sequential:
    torch.manual_seed(0)
    own = Own(3, 4, 3)
    own.way = way
    own.register_buffer("other", torch.ones(4, 3, 3, 3))
    return nn.Sequential(own, nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


@cases(
    "way",
    *("standardised", "low rank", "sign of shifted", "other layer's", "flipped"),
    *("binary", "small ones filled"),
)
def test_a_weight_that_is_alive_in_use_where_it_is_pruned_is_refused(way) -> None:
    with pytest.raises(
        ValueError, match=r"0.weight: the forward pass uses a value .*exclude 0, or use the"
    ):
        harness.prune(network(way), 0.5, example_input=IMAGES)
    masks = harness.prune(network(way), 0.5, exclude=["0"], example_input=IMAGES)
    assert list(masks) == ["3.weight"]


@cases("way", "sign of shifted", "other layer's", "binary", "small ones filled")
def test_whole_filters_are_removed_although_their_pruned_weights_are_alive_in_use(way) -> None:
    model = network(way)
    assert "3.weight" in harness.prune(model, 0.5, structure="filter", example_input=IMAGES)
    assert not reach_outputs(model, Filter().units(model, IMAGES), IMAGES)


@cases("way", "scaled", "spectral", "quantised", "masked", "cast", *ZEROED, *QUANTISED)
def test_a_weight_that_is_0_in_use_where_it_is_pruned_is_taken(way) -> None:
    assert "0.weight" in harness.prune(network(way), 0.5, example_input=IMAGES)


@cases("backend", "fbgemm", "qnnpack")
@pytest.mark.filterwarnings("ignore")
def test_layers_of_quantisation_aware_training_are_pruned(backend) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).train()
    model.qconfig = quantization.get_default_qat_qconfig(backend)
    ready = quantization.prepare_qat(model)
    ready(INPUTS)
    kept = {name: value.clone() for name, value in ready.named_buffers()}
    assert list(harness.prune(ready, 0.5, example_input=INPUTS)) == ["0.weight", "2.weight"]
    assert all(torch.equal(kept[name], value) for name, value in ready.named_buffers())


def test_a_weight_that_is_added_to_its_transpose_is_refused() -> None:
    class Symmetric(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight + self.weight.t(), self.bias)

    with pytest.raises(
        ValueError, match="0.weight: the forward pass uses a value that add computes from it"
    ):
        harness.prune(nn.Sequential(Symmetric(8, 8), nn.Linear(8, 3)), 0.5, example_input=INPUTS)


class Experts(nn.Module):
    """Holds experts as one parameter, a projection of another class, a small table, and layers."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(8, 8), nn.Linear(8, 3)
        self.experts = nn.ParameterList(nn.Parameter(torch.ones(4, 8, 8)) for _ in range(2))
        self.lstm, self.tiny = nn.LSTM(8, 8), nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.i(x)
        for each in self.experts:
            x = torch.einsum("bi,eij->bj", x, each) * self.tiny.sum()
        return self.o(self.lstm(x)[0])


@cases("sample", None, INPUTS)
def test_parameters_that_no_rule_covers_are_named_once_with_their_shares(sample, caplog) -> None:
    harness.prune(Experts(), 0.5, example_input=sample)
    # 1,191 in all: 72 and 27 of layers, 2 x 256 of experts, 2 x 256 and 64 of the LSTM, 4.
    assert caplog.messages == [
        "no rule prunes these parameters, which stay dense: "
        "experts.* of ParameterList (43 % of the model's parameters), "
        "lstm.weight_ih_l0 of LSTM (21.5 % of the model's parameters), "
        "lstm.weight_hh_l0 of LSTM (21.5 % of the model's parameters)"
    ]


class Flat(nn.Module):
    """Holds most elements in one dimension and in small squares, and its own bias and scale."""

    def __init__(self) -> None:
        super().__init__()
        self.o, self.flat = nn.Linear(8, 3), nn.Parameter(torch.ones(160))
        self.scale, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(1, 8))
        for name in "abcdefgh":
            setattr(self, name, nn.Parameter(torch.ones(1, 2, 1)))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.o(x @ self.flat.view(20, 8).mean(0).diag() * self.scale + self.bias)
        return outputs * sum(getattr(self, name).sum() for name in "abcdefgh")


def test_many_small_ones_and_one_of_a_single_dimension_are_named_too(caplog) -> None:
    harness.prune(Flat(), 0.5, example_input=INPUTS)
    # 219 in all: 27 of the layer, 160, 8 and 8, and 8 x 2.
    assert caplog.messages == [
        "no rule prunes these parameters, which stay dense: "
        "flat of Flat (73.1 % of the model's parameters), "
        "8 smaller ones, such as a (7.31 % of the model's parameters)"
    ]


class Custom(nn.Linear):
    """A layer of a class that is not torch's."""


def test_without_a_sample_layers_of_other_classes_are_named(caplog) -> None:
    model = nn.Sequential(Custom(8, 8), nn.Linear(8, 3))
    harness.prune(model, 0.5)
    assert caplog.messages == [
        "0: how a Custom uses its weight was not checked; give example_input, a batch of inputs"
    ]
    caplog.clear()
    harness.prune(model, 0.25, example_input=INPUTS)
    assert not caplog.messages


def test_nothing_is_named_where_rules_cover_all(caplog) -> None:
    caplog.set_level(logging.INFO)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 2)
    )
    harness.prune(model, 0.5, example_input=IMAGES)
    assert not caplog.messages


def test_a_language_head_that_is_no_embedding_is_named(caplog) -> None:
    caplog.set_level(logging.INFO)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9))
    ids = torch.zeros(2, 3, dtype=torch.int64)
    harness.prune(model, 0.5, example_input=ids)
    assert "2 is pruned too (" in caplog.text and "exclude=[last]" in caplog.text
