"""Defines small recipes, data and models, whose training can be followed by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from harness.data.base import Split
from harness.distributed import Ranks
from harness.learning_rate.base import LearningRate
from harness.learning_rate.constant import Constant
from harness.models.mlp import Mlp
from harness.task.classification import Classification
from harness.training.context import Hooks, TrainingContext
from harness.training.trainer import Trainer

PLAIN = partial(SGD, lr=1.0)


@dataclass(frozen=True)
class Summing(Classification):
    """Has the sum of outputs as its loss: a linear model's gradient is its mean input."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.float().sum()


@dataclass
class Steps:
    """Records its arguments, and returns the learning rate of `rule`."""

    rule: Callable[[int], float] = lambda step: 1.0
    calls: list[tuple[int, int, int]] = field(default_factory=list)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        self.calls.append((step, steps_per_epoch, epochs))
        return self.rule(step)


def line() -> nn.Linear:
    """Returns y = 0 x1 + 0 x2."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


def points(*rows: list[float]) -> Split:
    return Split(torch.tensor(rows), torch.zeros(len(rows), dtype=torch.int64))


def blobs(samples: int = 33, dtype: torch.dtype = torch.float32) -> Split:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % 3
    inputs = torch.randn(samples, 4, generator=random) + 2 * torch.eye(4)[labels]
    return Split(inputs.to(dtype), labels)


def mlp(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return Mlp(hidden=[8]).build((4,), 3).to(dtype)


def trainer(learning_rate: LearningRate | None = None, **changes: Any) -> Trainer:
    values: dict[str, Any] = {"optimizer": PLAIN, "epochs": 1, "batch_size": 100} | changes
    return Trainer(learning_rate=learning_rate or Constant(), **values)


def context(split: Split, task: Classification | None = None, level: int = 0) -> TrainingContext:
    return TrainingContext(split, task or Summing(), Ranks(), seed=0, level=level)


def trained(model: nn.Module, split: Split, seed: int = 0, **changes: Any) -> nn.Module:
    recipe = trainer(**({"batch_size": 8, "epochs": 2} | changes))
    recipe.fit(model, TrainingContext(split, Classification(), Ranks(), seed, level=0), Hooks())
    return model


def weights(model: nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
