"""What retraining is: which weights it starts from, by which recipe, from where and how long."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from harness.vocabulary.checks import check
from harness.vocabulary.step_index import StepIndex

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]  # of a network, by name; told so without importing torch
Dense = Callable[[StepIndex], State]
Fresh = Callable[[], State]
Recipe = Literal["training", "retraining"]


@dataclass(frozen=True)
class RetrainingPlan:
    """How a retraining goes; its optimizer is always a new one, without state.

    recipe: "training" (the dense recipe) or "retraining".
    begin: where in that recipe it begins: weights may be of that moment, the learning rate is.
    epochs: length of the recipe in place of its own; None: its own.
    rate: "schedule", or "last": the learning rate of the recipe's last step throughout.
    stretch: the recipe lasts round(stretch x epochs) epochs, and its learning-rate schedule is
        stretched with it.
    """

    recipe: Recipe
    begin: StepIndex = StepIndex(0)
    epochs: int | None = None
    rate: Literal["schedule", "last"] = "schedule"
    stretch: float = 1.0


class Finetune(Protocol):
    """Weights and plan of retraining, at every level; `epochs` is the length of dense training."""

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan | None:
        """None: no retraining.

        speedup: dense / pruned multiply-accumulates of one example at this level, finite and at
        least 1; 1.0 where only the form of the plan matters: all but the stretch.

        Raises:
            ValueError: the mode asks for what dense training of so many epochs does not have.
        """

    def dense_checkpoints_needed(self, epochs: int) -> tuple[StepIndex, ...]:
        """Of dense training, whose state `weights` asks for. Raises as `plan` does."""
        return ()

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State | None:
        """Whole state to load before the masks are applied; None keeps the pruned network's.

        `dense(index)`: state of dense training then; `fresh()`: of a new random network.
        """
        return None


def check_whole(key: str, value: int | None, least: int, way_out: str) -> None:
    """
    Raises:
        ValueError: value is neither None nor a whole number (True is none) of at least `least`.
    """
    check(key, value, f"a whole number of at least {least} or null", f"; {way_out}")


def last_epochs(count: int, epochs: int) -> StepIndex:
    """Where the last `count` of `epochs` begin.

    >>> last_epochs(3, epochs=10)
    StepIndex(epoch=7, step=0)

    Raises:
        ValueError: there are fewer.
    """
    if count > epochs:
        raise ValueError(
            f"finetune.epochs={count} goes back further than dense training, which has {epochs} "
            "epochs; write fewer or raise training.epochs"
        )
    return StepIndex(epochs - count)
