"""Runs dense training of a small model, whose states stay in a folder."""

import copy
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.optim import SGD

from harness.data.base import Split
from harness.distributed import Ranks
from harness.learning_rate.cosine import Cosine
from harness.models.mlp import Mlp
from harness.task.classification import Classification
from harness.training.context import TrainingContext
from harness.training.dense import DenseTraining
from harness.training.state_files import build_seeded
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import StepIndex

RECIPE = Trainer(partial(SGD, lr=0.1, momentum=0.9), Cosine(), epochs=4, batch_size=8)


def network() -> nn.Module:
    return Mlp(hidden=[6], batch_norm=True).build((4,), 3)


FIRST = build_seeded(network, 7)


def split() -> Split:
    random = torch.Generator().manual_seed(0)
    return Split(torch.randn(26, 4, generator=random), torch.arange(26) % 3)


CONTEXT = TrainingContext(split(), Classification(), Ranks(), seed=0, level=0)


def dense(folder: Path, *keep: int, context: TrainingContext = CONTEXT) -> DenseTraining:
    return DenseTraining(
        folder / "ab" / "cache", RECIPE, context, lambda: copy.deepcopy(FIRST),
        list(map(StepIndex, keep)),
    )  # fmt: skip
