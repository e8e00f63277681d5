"""Defines the inputs of a training beside its recipe: data, ranks, seed and hooks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.base import Task, sample_weights
from harness.vocabulary.given.inputs import Inputs, call_model
from harness.vocabulary.tensors import Tensors

LoopState = dict[str, Any]  # plain values and tensors


@dataclass(frozen=True)
class TrainingCurve:
    """Holds losses and accuracies of a training, after each whole epoch and between steps.

    Args:
        losses: Mean of the minimised loss over what counts, by epoch.
        validation: Primary measure on validation data, by epoch. Empty without validation data.
        validations: Rows [steps done, loss, measure] on validation data, where the recipe asks
            for them. Steps count from the recipe's beginning.
        early_stop: The first of them with the smallest loss, by step and validation_loss, and the
            measure on test data there, value. It is an analysis: nothing stops there.
    """

    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    validations: list[list[float | None]] = field(default_factory=list)
    early_stop: dict[str, float] | None = None

    def extended(self, loss: float, validation: float | None) -> "TrainingCurve":
        more = [] if validation is None else [validation]
        found = [*self.validation, *more]
        return replace(self, losses=[*self.losses, loss], validation=found)

    def validated(
        self, step: int, loss: float, value: float, test_value: Callable[[], float]
    ) -> "TrainingCurve":
        """Returns the curve with one more row; `test_value` is called for a new smallest loss."""
        stop = self.early_stop
        smallest = math.inf if stop is None else stop["validation_loss"]
        if loss < smallest:
            stop = {"step": step, "validation_loss": loss, "value": test_value()}
        row: list[float | None] = [step, loss, value]
        return replace(self, validations=[*self.validations, row], early_stop=stop)


class FitResult(NamedTuple):
    """Holds the result of a training.

    `norm` is that of the unpruned gradients, not clipped, at the last step of the last whole epoch,
    or None without one.
    """

    norm: float | None
    curve: TrainingCurve


UNFINISHED = FitResult(None, TrainingCurve())  # of a training that has not ended
OnEpoch = Callable[
    [int, TrainingCurve], None
]  # number of the recipe's epochs done, the curve up to there


class Saver(Protocol):
    """Saves the state of a training. Every rank calls it at the same steps."""

    def begin(self, optimizer: Optimizer) -> None:
        """Prepares for a training. Called before the first step."""

    def is_due(self, step: int) -> bool:
        """Returns True to save after this step.

        Called after `step` steps of an epoch, but not its last.
        """

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        """Saves the state after `epoch` whole epochs and `step` steps.

        Called when due and after each epoch.
        """


@dataclass(frozen=True)
class Hooks:
    """Holds functions that run inside the loop.

    Steps are counted from this training's first one, 0.
    """

    # Runs before a step's forward pass. Masks and optimizer state may change here.
    before_step: Callable[[int, Optimizer], None] | None = None
    # (inputs, outputs, labels, the task's loss summed over these samples) -> the sum to minimise.
    loss_term: Callable[[Inputs, Tensor, Tensor, Tensor], Tensor] | None = None
    # Runs with averaged, unscaled, unclipped gradients. True: it has updated the model itself,
    # and the optimizer does nothing.
    takes_step: Callable[[Optimizer], bool] | None = None
    after_backward: Callable[[], None] | None = None  # then masks the gradients
    epoch_end: OnEpoch | None = None
    masks_in_force: Callable[[], Tensors] | None = (
        None  # bool by name: True where gradients are used
    )
    masks: Callable[[], Tensors] | None = None  # bool by name: False where pruned
    # State per weight from step to step. It is compared over ranks at an epoch's end.
    per_weight_state: Callable[[], Tensors] | None = None
    saver: Saver | None = None


@dataclass(frozen=True)
class TrainingContext:
    """Holds all inputs of a training that its recipe does not decide.

    `validation` is evaluated after every epoch. None evaluates nothing. `test` is evaluated where
    a recipe with validate_every finds a new smallest loss on `validation`.
    """

    split: Split
    task: Task
    ranks: Ranks
    seed: int
    level: int | str  # 0 is dense training; names the random streams
    gradient_dtype: torch.dtype | None = None  # of gradients between ranks, None: their own
    validation: Split | None = None
    test: Split | None = None

    def first_loss(self, model: nn.Module) -> Tensor:
        """Returns the loss of the first two training samples, or of the only one."""
        first = torch.arange(min(2, len(self.split)))
        inputs, labels = next(iter(self.split.batches([first])))
        return self.task.loss(call_model(model, inputs), labels)

    @cached_property
    def sample_weights(self) -> Tensor | None:
        """Returns the weight of each sample in [0, 1], on the CPU. None counts every sample.

        A split that does not hold its labels as one tensor has no uncounted labels.
        """
        labels = getattr(self.split, "labels", None)
        fractions = sample_weights(self.task, labels).cpu() if isinstance(labels, Tensor) else None
        return None if fractions is None or bool((fractions == 1).all()) else fractions
