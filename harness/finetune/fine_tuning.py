"""Retrains for a number of epochs by one of the two recipes, from any weights."""

from dataclasses import dataclass
from typing import Annotated

from harness.finetune.base import EPOCHS, Finetune, Recipe, RetrainingPlan
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class FineTuning(Finetune):
    """weights = any; learning rate = that of `recipe`, for `epochs` epochs.

    Args:
        epochs: epochs of retraining; None for as many as the recipe has.
        recipe: "retraining", with its own learning rate; or "training", the dense recipe at the
            learning rate of its last step throughout, as Renda et al. 2020 (arXiv:2003.02389)
            fine-tune. Their learning rate falls in steps; a cosine that ends at 0 leaves almost
            nothing.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or the recipe is unknown.
    """

    epochs: Annotated[int, EPOCHS] | None = None
    recipe: Recipe = "retraining"

    def __post_init__(self) -> None:
        check_declared(self)

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        if self.recipe == "retraining":
            return RetrainingPlan("retraining", epochs=self.epochs)
        if epochs == 0:
            raise ValueError(
                "finetune.recipe=training uses the last learning rate of dense training, which has "
                "0 epochs; raise training.epochs or write finetune.recipe=retraining"
            )
        return RetrainingPlan("training", epochs=self.epochs, rate="last")
