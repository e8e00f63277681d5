"""What a training is given beside its recipe: data, ranks, seed, and what others do inside it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.base import Task, sample_weights
from harness.vocabulary.tensors import Tensors

LoopState = dict[str, Any]  # plain values and tensors


@dataclass(frozen=True)
class TrainingCurve:
    """After each whole epoch of a training so far.

    losses: mean over what counts as it was minimised, over the epoch's steps. top1: on validation
    data, in [0, 1]; empty where there is none.
    """

    losses: list[float] = field(default_factory=list)
    top1: list[float] = field(default_factory=list)

    def extended(self, loss: float, top1: float | None) -> "TrainingCurve":
        more = [] if top1 is None else [top1]
        return TrainingCurve([*self.losses, loss], [*self.top1, *more])


class FitResult(NamedTuple):
    """norm: of the live gradients, not clipped, at the last step of the last whole epoch; None
    without one."""

    norm: float | None
    curve: TrainingCurve


UNFINISHED = FitResult(None, TrainingCurve())  # of a training, what its end alone has
OnEpoch = Callable[
    [int, TrainingCurve], None
]  # number of the recipe's epochs done, the curve up to there


class Saver(Protocol):
    """Keeps a training's state; every rank calls it at the same steps."""

    def begin(self, optimizer: Optimizer) -> None:
        """Called before the first step."""

    def is_due(self, step: int) -> bool:
        """Asked after each step but an epoch's last; `step` of them are done in this epoch."""

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        """Called when due and after each epoch; `epoch` whole ones are done, and `step` steps."""


@dataclass(frozen=True)
class Hooks:
    """What others may do inside the loop; steps are counted from this training's first one, 0."""

    # Before a step's forward pass: masks may change here, and with them the optimizer's state.
    before_step: Callable[[int, Optimizer], None] | None = None
    # (inputs, outputs, labels, the task's loss summed over these samples) -> the sum to minimise.
    loss_term: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None
    # With gradients averaged, unscaled, not clipped: whether this step is taken by something else
    # than the optimizer, which then does nothing.
    takes_step: Callable[[Optimizer], bool] | None = None
    after_backward: Callable[[], None] | None = None  # after that: masks the gradients
    epoch_end: OnEpoch | None = None
    masks_in_force: Callable[[], Tensors] | None = (
        None  # bool by name: whose gradients are used at all
    )
    # What they keep per weight from step to step: at an epoch's end it is compared over ranks.
    per_weight_state: Callable[[], Tensors] | None = None
    saver: Saver | None = None


@dataclass(frozen=True)
class TrainingContext:
    """Everything that a training recipe does not decide itself.

    validation: measured after every epoch; None: nothing is.
    """

    split: Split
    task: Task
    ranks: Ranks
    seed: int
    level: int | str  # 0 is dense training; names the random streams
    gradient_dtype: torch.dtype | None = None  # of gradients between ranks, None: their own
    validation: Split | None = None

    @cached_property
    def sample_weights(self) -> Tensor | None:
        """How much of each sample counts, on the CPU; None: all of each, as far as is known.

        A split that does not hold its labels as one tensor has none that are left out.
        """
        labels = getattr(self.split, "labels", None)
        found = sample_weights(self.task, labels).cpu() if isinstance(labels, Tensor) else None
        return None if found is None or bool((found == 1).all()) else found
