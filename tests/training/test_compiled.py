"""Tests trainings that torch.compile or another memory format makes faster, on a CPU."""

import copy
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from small_training import blobs, context, mlp, trainer, weights
from torch import nn
from torch._dynamo.utils import counters
from torch.optim import SGD

from harness.data.base import Split
from harness.pruning.masks import MaskStore
from harness.task.classification import Classification
from harness.training.context import Hooks

SMALL = {"optimizer": partial(SGD, lr=0.1), "epochs": 2, "batch_size": 11}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def test_masks_of_three_levels_are_trained_by_one_compiled_graph() -> None:
    model = mlp()
    store = MaskStore({"fc1.weight": model.get_parameter("fc1.weight")})
    there, graphs = context(blobs(), Classification()), []
    for level in range(3):
        store.shrink_to({"fc1.weight": torch.arange(32).view(8, 4) % 3 >= level})
        store.apply_to(model)
        hooks = Hooks(after_backward=store.gradient_masker(model), masks_in_force=lambda: {})
        trainer(compile="aot_eager", **SMALL).fit(model, there, hooks)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs == [1, 1, 1]


def test_a_compiled_training_computes_what_the_plain_one_does() -> None:
    plain, compiled = mlp(torch.float64), mlp(torch.float64)
    there = context(blobs(dtype=torch.float64), Classification())
    trainer(**SMALL).fit(plain, there, Hooks())
    trainer(compile="aot_eager", **SMALL).fit(compiled, there, Hooks())
    assert weights(compiled) == pytest.approx(weights(plain), rel=1e-12)
    assert [*compiled.state_dict()] == [*plain.state_dict()]  # no wrapper's prefix


class Seeing(nn.Conv2d):
    """Notes whether its inputs are in the format channels_last."""

    seen: bool | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        type(self).seen = input.is_contiguous(memory_format=torch.channels_last)
        return super().forward(input)


@pytest.mark.parametrize("memory_format", [None, "channels_last"])
def test_images_reach_convolutions_in_the_format_of_the_recipe(memory_format) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Seeing(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).double()
    plain = copy.deepcopy(model)
    split = Split(torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.arange(8) % 2)
    there = context(split, Classification())
    trainer(memory_format=memory_format, **SMALL).fit(model, there, Hooks())
    assert Seeing.seen is (memory_format == "channels_last")
    trainer(**SMALL).fit(plain, there, Hooks())
    assert weights(model) == pytest.approx(weights(plain), rel=1e-12)
