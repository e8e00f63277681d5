"""Prepares and runs tiny runs of data and models that a test makes up."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY
from silent import ME, Silent
from torch import Tensor, nn

from harness.data.base import Split, Splits
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.experiment import Experiment
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.run_folder.records import Record

SMALL = (
    *TINY, "training.batch_size=16", "retraining.batch_size=16", "training.epochs=1",
    "schedule.final=0.5", "calibration.samples=16",
)  # fmt: skip
Batches = Callable[[int], tuple[Any, Any]]


@dataclass(frozen=True)
class Built:
    """Is a model component that builds what it is told."""

    make: Callable[[tuple[int, ...], int], Any]

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        made: nn.Module = self.make(shape, classes)
        return made


@dataclass(frozen=True)
class Loaded:
    """Is a data set that loads what it is told."""

    make: Callable[[], Any]

    def load(self) -> Splits:
        made: Splits = self.make()
        return made


def mlp(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Linear(8, classes))


def points(count: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(count))
    return inputs, inputs[:, :3].argmax(1)


def of(make: Batches, classes: Any = 3, kind: Any = Split) -> Callable[[], Splits]:
    return lambda: Splits(*(kind(*make(count)) for count in (40, 16, 16)), classes)


@cache
def experiment(*overrides: str) -> Experiment:
    return build(compose_config([*SMALL, *overrides]))


def prepared(
    folder: Path,
    data: Callable[[], Any] = of(points),  # noqa: B008
    model: Callable[..., Any] = mlp,
    *overrides: str,
    **parts: Any,
) -> runner.Prepared:
    """Prepares a run, with other data and another model; overrides and parts come last."""
    parts = {"data": Loaded(data), "model": Built(model), **parts}
    return runner.prepare(replace(experiment(*overrides), **parts), Ranks(), folder)


def last_record(levels: runner.Prepared) -> Record:
    sink = Silent()
    runner.run(Recorder(*levels, ME, sink))
    return sink.records[-1]


class Own:
    """Is a split of another kind, whose batches are what `of_samples` makes."""

    def __init__(self, inputs: Tensor, labels: Tensor):
        self.given = inputs, labels

    def __len__(self) -> int:
        return len(self.given[1])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Own":
        return self

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Any]:
        return (self.of_samples(*(part[chosen] for part in self.given)) for chosen in indices)

    def of_samples(self, inputs: Tensor, labels: Tensor) -> Any:
        return inputs, labels


def own(of_samples: Callable[[Tensor, Tensor], Any]) -> type:
    return type("Odd", (Own,), {"of_samples": lambda self, *given: of_samples(*given)})


def refusal(call: Callable[[], object]) -> str:
    """Returns the message with which a call refuses its input, which is one line."""
    with pytest.raises(ValueError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)
