"""Tests models of odd shapes and memory: each is pruned right, or refused in one line."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_given_values import X, Y, network, refusal
from torch import Tensor, nn

import harness

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch: initializing zero-element tensors is a no-op
    EMPTY_IN, EMPTY_OUT = nn.Linear(0, 3), nn.Linear(8, 0)


class Wide(nn.Module):
    """Has a branch of width 0 beside a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.out = nn.Linear(8, 8), nn.Linear(8, 3)
        self.down, self.up = EMPTY_OUT, EMPTY_IN

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.a(inputs).relu()
        found: Tensor = self.out(hidden) + self.up(self.down(hidden).relu())
        return found


SALIENCIES = ("magnitude", "random", "gradient", "fisher", "wanda", "sparsegpt", "synflow", "obs")
ALLOCATIONS = ("uniform", "erk", "lamp", "balanced", "layer_std", "smart_ratio", "uniform_plus")


@pytest.mark.parametrize("part", [*SALIENCIES, *ALLOCATIONS])
def test_a_layer_of_width_0_has_nothing_to_prune(part) -> None:
    chosen = {"saliency" if part in SALIENCIES else "allocation": part}
    masks = harness.prune(Wide(), 0.5, batches=[(X, Y)], **chosen)
    assert masks.keys() == {"a.weight", "out.weight"}
    assert sum(int(mask.sum()) for mask in masks.values()) == 44


def test_rows_beside_a_layer_of_width_0_go() -> None:
    assert int(harness.prune(Wide(), 0.5, structure="row", example_input=X)["a.bias"].sum()) == 4


def test_a_model_without_any_entry_has_no_layer() -> None:
    assert "has no Conv or Linear layer to prune" in refusal(lambda: harness.prune(EMPTY_OUT, 0.5))


def with_weights(first: Tensor, last: Tensor | None = None) -> nn.Sequential:
    net = network()
    net[0].weight = nn.Parameter(first)
    if last is not None:
        net[2].weight = nn.Parameter(last)
    return net


BIG = torch.randn(16, 16, generator=torch.Generator().manual_seed(3))
FLAT = BIG.flatten()
WEIGHTS: dict[str, Callable[[], nn.Sequential]] = {
    "transposed": lambda: with_weights(BIG[:8, :8].clone().t()),
    "strided": lambda: with_weights(BIG.clone()[::2, ::2]),
    "one storage": lambda: (
        lambda flat: with_weights(flat[:64].view(8, 8), flat[64:88].view(3, 8))
    )(FLAT.clone()),
    "columns of one storage": lambda: (lambda big: with_weights(big[:8, :8], big[:3, 8:]))(
        BIG.clone()
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_where_weights_lie_in_memory_changes_nothing(kind) -> None:
    net = WEIGHTS[kind]()
    plain = with_weights(*(net[i].weight.detach().clone() for i in (0, 2)))
    masks, expected = (harness.prune(given, 0.3, allocation="uniform") for given in (net, plain))
    assert all(torch.equal(mask, expected[name]) for name, mask in masks.items())
    assert all(torch.equal(net.get_parameter(name) != 0, mask) for name, mask in masks.items())


def frozen() -> nn.Sequential:
    return network().requires_grad_(False)


@pytest.mark.parametrize("saliency", ["magnitude", "gradient", "fisher", "hutchinson", "movement"])
def test_a_model_that_is_frozen_whole_is_scored_as_any_other(saliency) -> None:
    one, other = (harness.score(make(), saliency, batches=[(X, Y)]) for make in (frozen, network))
    assert all(torch.equal(score, other[name]) for name, score in one.items())


class Counts(nn.Module):
    """Keeps a dictionary as its extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(8, 3), {"steps": 1}

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs)
        return found

    def get_extra_state(self) -> dict[str, int]:
        return self.seen

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seen = state


def test_an_extra_state_of_any_kind_is_left_alone() -> None:
    net = Counts()
    assert (
        int(harness.prune(net, 0.5, saliency="gradient", batches=[(X, Y)])["layer.weight"].sum())
        == 12
    )
    assert net.seen == {"steps": 1}


ODD_MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "no module": (lambda: {"a": 1}, "model must be a torch.nn.Module, got dict"),
    "on meta": (
        lambda: network().to("meta"),
        "0.weight has no values, as it is on the meta device",
    ),
    "lazy": (lambda: nn.LazyLinear(3), "weight has no values yet; run one batch"),
    "eight bits": (lambda: network().to(torch.float8_e4m3fn), "convert the model to bfloat16"),
    "expanded": (
        lambda: with_weights(BIG[:1, :8].expand(8, 8)),
        "0.weight of shape (8, 8) repeats",
    ),
    "two in one memory": (
        lambda: (lambda flat: with_weights(flat[:64].view(8, 8), flat[46:70].view(3, 8)))(
            FLAT.clone()
        ),
        "0.weight and 2.weight are two parameters in the same memory",
    ),
    "not finite": (lambda: with_weights(BIG[:8, :8] * torch.nan), "0.weight holds values that are"),
}


@pytest.mark.parametrize("kind", ODD_MODELS)
def test_what_cannot_be_pruned_is_named(kind) -> None:
    make, message = ODD_MODELS[kind]
    assert message in refusal(lambda: harness.prune(make(), 0.5))
