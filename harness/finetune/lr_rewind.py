from dataclasses import dataclass
from typing import Annotated

from harness.finetune.base import EPOCHS, Finetune, RetrainingPlan, last_epochs
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class LrRewind(Finetune):
    """weights = the remaining ones; recipe = the last `epochs` epochs of the dense one.

    epochs: the number of epochs to run again; None is all of dense training.

    Source: Renda et al. 2020, learning-rate rewinding (arXiv:2003.02389).

    Raises:
        ValueError: epochs is not a whole number of at least 1.
    """

    epochs: Annotated[int, EPOCHS] | None = None

    def __post_init__(self) -> None:
        check_declared(self)

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        count = epochs if self.epochs is None else self.epochs
        return RetrainingPlan("training", begin=last_epochs(count, epochs))
