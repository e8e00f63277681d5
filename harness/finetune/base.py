"""Defines retraining: its initial weights, its recipe, and where in the recipe it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from harness.vocabulary.step_index import StepIndex

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]  # tensors of a model by name; typed without importing torch
Dense = Callable[[StepIndex], State]
Fresh = Callable[[], State]
Recipe = Literal["training", "retraining"]
EPOCHS = "a whole number in [1, 1000000]; write finetune=none for no retraining"


@dataclass(frozen=True)
class RetrainingPlan:
    """Describes a retraining, whose optimizer always starts without state.

    Args:
        recipe: "training" (the dense recipe) or "retraining".
        begin: the position in that recipe at which retraining starts. The learning rate is the one
            at this position; a mode may also load weights of this position.
        epochs: replaces the recipe's length; None keeps it.
        rate: "schedule", or "last" for the learning rate of the recipe's last step throughout.
        stretch: the recipe lasts round(stretch x epochs) epochs, and its learning-rate schedule is
            stretched with it.
    """

    recipe: Recipe
    begin: StepIndex = StepIndex(0)
    epochs: int | None = None
    rate: Literal["schedule", "last"] = "schedule"
    stretch: float = 1.0


class Finetune(Protocol):
    """Chooses weights and plan of retraining; `epochs` is the length of dense training."""

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan | None:
        """Returns the plan of retraining, or None for no retraining.

        speedup: dense / pruned multiply-accumulates of one example at this level, finite and at
            least 1; 1.0 if only the form of the plan matters (everything but the stretch).

        Raises:
            ValueError: the mode needs more epochs than dense training has.
        """

    def dense_checkpoints_needed(self, epochs: int) -> tuple[StepIndex, ...]:
        """Returns the positions in dense training whose state `initial_weights` needs.

        Raises the errors of `plan`.
        """
        return ()

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State | None:
        """Returns the whole state to load before masks are applied; None keeps the pruned model's.

        dense(index): the state of dense training at this position. fresh(): the state of a new
        random model.
        """
        return None


def last_epochs(count: int, epochs: int) -> StepIndex:
    """Returns the position at which the last `count` of `epochs` begin.

    >>> last_epochs(3, epochs=10)
    StepIndex(epoch=7, step=0)

    Raises:
        ValueError: there are fewer epochs.
    """
    if count > epochs:
        raise ValueError(
            f"finetune.epochs={count} goes back further than dense training, which has {epochs} "
            "epochs; write fewer or raise training.epochs"
        )
    return StepIndex(epochs - count)
