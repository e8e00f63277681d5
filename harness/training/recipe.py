"""Defines a training recipe."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.augmentation.base import Augmentation
from harness.distributed import Ranks
from harness.learning_rate.base import LearningRate
from harness.system.processes import without_collection
from harness.training.batching import steps_per_epoch
from harness.vocabulary.checks import check, check_declared, follows, problem_of

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
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

    optimizer: MakeOptimizer
    learning_rate: LearningRate
    epochs: Annotated[int, "a whole number in [0, 1000000]"]
    batch_size: Annotated[int, "a whole number in [1, 1000000000]"]
    accumulate: Annotated[int, "a whole number in [1, 1000000]"] = 1
    autocast: Literal["bfloat16", "float16"] | None = None
    clip_norm: Annotated[float, "a number above 0"] | None = None
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        check_optimizer(self.optimizer)

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


def check_optimizer(make: MakeOptimizer) -> None:
    """Checks what a config gives to an optimizer, by the types of its defaults and by a trial.

    Raises:
        ValueError: the optimizer refuses its arguments; the message names the argument.
    """
    given = dict(make.keywords) if isinstance(make, partial) else {}
    for key, value in given.items():
        if parameter := _parameter(make, key):
            _check_like_default(f"optimizer.{key}", value, parameter)
    if (error := _refusal(make)) is None:
        return
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    for key, value in given.items():
        others = {name: other for name, other in given.items() if name != key}
        if isinstance(make, partial) and _refusal(partial(make.func, *make.args, **others)) is None:
            raise ValueError(f"optimizer.{key}={value}: {text}") from error
    raise ValueError(f"optimizer: {text}") from error


def _parameter(make: MakeOptimizer, key: str) -> Parameter | None:
    return signature(make.func).parameters.get(key) if isinstance(make, partial) else None


def _check_like_default(key: str, value: object, parameter: Parameter) -> None:
    default = parameter.default
    if default is None and (problem := problem_of(value, parameter.annotation)):
        raise ValueError(f"{key} {problem}")
    if isinstance(default, bool):
        check(key, value, "true or false")
    elif isinstance(default, int | float):
        check(key, value, "a number" if math.isfinite(default) else "a number or inf")
    elif isinstance(default, tuple):
        several = isinstance(value, list | tuple) and len(value) == len(default)
        if not several or not all(follows(each, "a number") for each in value):  # type: ignore
            raise ValueError(
                f"{key} must be a list of {len(default)} numbers, got {value!r}; e.g. "
                f"{list(default)}"
            )


def _refusal(make: MakeOptimizer) -> Exception | None:
    """Returns why an optimizer can be made neither of a matrix (as Muon needs) nor of a vector."""
    errors = []
    for shape in ((1, 1), (1,)):
        try:
            with without_collection():  # the first optimizer imports torch._dynamo
                make([nn.Parameter(torch.zeros(shape))])
        except Exception as error:
            errors.append(error)
        else:
            return None
    return errors[0]
