"""Defines a training recipe."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.augmentation.base import Augmentation
from harness.distributed import Ranks
from harness.learning_rate.base import LearningRate
from harness.training.batching import steps_per_epoch
from harness.vocabulary.checks import check_fields

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Recipe:
    """Holds a training recipe.

    Args:
        optimizer: Maps parameters to a torch optimizer. Its lr is multiplied by learning_rate's
            factor.
        learning_rate: Schedule of the learning rate.
        epochs: Number of epochs.
        batch_size: GLOBAL batch size, over all ranks.
        accumulate: Number of micro-batches per step and rank.
        autocast: null, bfloat16 or float16 (with a GradScaler).
        clip_norm: Maximum norm of the unpruned gradients.
        augmentation: Augmentation of training inputs, drawn by seed, level, epoch and sample.

    Raises:
        ValueError: A value is out of its range, or the optimizer refuses its arguments.
    """

    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    learning_rate: LearningRate
    epochs: int
    batch_size: int
    accumulate: int = 1
    autocast: str | None = None
    clip_norm: float | None = None
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        check_fields(self, "a whole number >= 0", "epochs")
        check_fields(self, "a whole number >= 1", "batch_size", "accumulate")
        if self.autocast not in (None, *AUTOCAST):
            raise ValueError(f"autocast must be null, bfloat16 or float16, got {self.autocast!r}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be > 0 or null, got {self.clip_norm}")
        # Bad arguments of the optimizer fail now, not after minutes of training. Some take
        # matrices only (Muon); which parameters the model has is not known here.
        try:
            self.optimizer([nn.Parameter(torch.zeros(1, 1))])
        except ValueError:
            self.optimizer([nn.Parameter(torch.zeros(1))])

    def check_ranks(self, ranks: Ranks) -> None:
        """Raises ValueError unless every rank gets an equal shard of a full global batch."""
        if self.batch_size % ranks.world_size:
            below = self.batch_size - self.batch_size % ranks.world_size
            raise ValueError(
                f"batch_size={self.batch_size} is the global batch and {ranks.world_size} ranks do "
                f"not divide it; use {below or ranks.world_size} or {below + ranks.world_size}"
            )

    def check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError unless the augmentation, if any, accepts such inputs."""
        if self.augmentation is not None:
            draws = torch.zeros(len(inputs), self.augmentation.draws, device=inputs.device)
            self.augmentation.apply(inputs, draws.double())

    def steps_per_epoch(self, samples: int) -> int:
        return steps_per_epoch(samples, self.batch_size)
