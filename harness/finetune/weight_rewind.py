from dataclasses import dataclass
from typing import Annotated

from harness.finetune.base import (
    EPOCHS,
    Dense,
    Finetune,
    Fresh,
    RetrainingPlan,
    State,
    last_epochs,
)
from harness.vocabulary.checks import check_declared
from harness.vocabulary.step_index import StepIndex

POSITION = "a whole number >= 0; 0 is the initial model"


@dataclass(frozen=True)
class WeightRewind(Finetune):
    """weights and learning rate = those of dense training at a position, under the mask.

    Trains the rest of the dense recipe from there; masks are those of the end of training. At most
    one of the three fields sets the position; without any, it is the end of epoch 1.

    Args:
        epoch: the end of that epoch; 0 is the initial model.
        step: after so many optimizer steps, counted over all of dense training.
        epochs: the last so many epochs run again.

    Source: Frankle et al. 2019 (arXiv:1903.01611) and 2020 (arXiv:1912.05671) to a step, Renda et
    al. 2020 (arXiv:2003.02389) by the last epochs. Positions whose weights are not on disk are
    trained again from the start, bit for bit.

    Raises:
        ValueError: more than one is given, epoch or step is not a whole number of at least 0, or
            epochs not one of at least 1.
    """

    epoch: Annotated[int, POSITION] | None = None
    step: Annotated[int, POSITION] | None = None
    epochs: Annotated[int, EPOCHS] | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        given_fields = [f"{key}={value}" for key, value in vars(self).items() if value is not None]
        if len(given_fields) > 1:
            raise ValueError(
                "at most one of epoch, step and epochs may be given, got "
                f"{' and '.join(given_fields)}; leave the others null"
            )

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        return RetrainingPlan("training", begin=self._begin(epochs))

    def dense_checkpoints_needed(self, epochs: int) -> tuple[StepIndex, ...]:
        return (self._begin(epochs),)

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State:
        return dense(self._begin(epochs))

    def _begin(self, epochs: int) -> StepIndex:
        if self.epochs is not None:
            return last_epochs(self.epochs, epochs)
        if self.step is not None:
            # Whether dense training has so many steps is checked where the data are known.
            return StepIndex(0, self.step)
        epoch = 1 if self.epoch is None else self.epoch
        if epoch > epochs:
            raise ValueError(
                f"finetune names epoch {epoch}, but dense training has epochs 0 to {epochs}; "
                "choose one of them or raise training.epochs"
            )
        return StepIndex(epoch)
