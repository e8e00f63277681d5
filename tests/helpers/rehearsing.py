"""Rehearses small runs whose models and parts a test gives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from watched import experiment

from harness.distributed import Ranks
from harness.experiment.experiment import Experiment
from harness.experiment.rehearsals import rehearsal
from harness.experiment.runner import Prepared, prepare
from harness.metrics.latency import Latency
from harness.task.classification import Classification
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import Tensors

TRAINED = ("prune_at=after_training", "training.epochs=1")
Forward = Callable[["Net", Tensor], Any]


class Net(nn.Module):
    """Has layers of any kind; `forward` is the test's own."""

    def __init__(self, inputs: int, classes: int, forward: Forward) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(inputs, 6), nn.Linear(6, classes)
        self.lstm, self.passes = nn.LSTM(6, 6, batch_first=True), forward

    def forward(self, x: Tensor) -> Any:
        return self.passes(self, x)


class Building:
    def __init__(self, forward: Forward, wrap: Callable[[nn.Module], nn.Module] = lambda m: m):
        self.passes, self.wrap = forward, wrap

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.wrap(Net(shape[0], classes, self.passes))


def first(outputs: Any) -> Tensor:
    return next(iter_tensors(outputs))


class First(Classification):
    """Takes the first output of several."""

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        return super().loss(first(outputs), labels)

    def measure(self, outputs: Any, labels: Tensor) -> Tensors:
        return super().measure(first(outputs), labels)


def plain(net: Net, x: Tensor) -> Tensor:
    return net.two(net.one(x).relu())


def recurrent(net: Net, x: Tensor) -> Tensor:
    start = torch.zeros(1, len(x), 6)
    return net.two(net.lstm(net.one(x).unsqueeze(1), (start, start))[0][:, -1])


def checkpointed(net: Net, x: Tensor, reentrant: bool) -> Tensor:
    return checkpoint(lambda h: net.two(h.relu()), net.one(x), use_reentrant=reentrant)


def prepared(*overrides: str, **parts: Any) -> Prepared:
    return prepare(changed(*overrides, **parts), Ranks(), Path("unused"))


def changed(*overrides: str, **parts: Any) -> Experiment:
    return replace(experiment(*overrides), **parts)


def rehearse(*overrides: str, latency: Latency | None = None, **parts: Any) -> None:
    ready = prepared(*overrides, **parts)
    rehearsal.rehearse(ready.context, ready.state.model, latency)


def fails(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail
