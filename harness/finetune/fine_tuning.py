"""Fine-tuning, whatever the weights: how long, and by whose learning rate."""

from dataclasses import dataclass
from typing import get_args

from harness.finetune.base import Finetune, Recipe, RetrainingPlan, check_whole


@dataclass(frozen=True)
class FineTuning(Finetune):
    """recipe: "retraining", with its own learning rate; or "training": the dense recipe at the
    learning rate of its last step throughout, as Renda et al. 2020 (arXiv:2003.02389) fine-tune.
    Theirs falls in steps; a cosine that ends at 0 leaves next to nothing to go on with.

    epochs: of retraining; None: as many as the recipe has.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or the recipe is unknown.
    """

    epochs: int | None = None
    recipe: Recipe = "retraining"

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs, 1, "write finetune=none for no retraining")
        if self.recipe not in get_args(Recipe):
            raise ValueError(f"recipe must be training or retraining, got {self.recipe!r}")

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        if self.recipe == "retraining":
            return RetrainingPlan("retraining", epochs=self.epochs)
        if epochs == 0:
            raise ValueError(
                "finetune.recipe=training goes on at the last learning rate of dense training, "
                "which has 0 epochs; raise training.epochs or write finetune.recipe=retraining"
            )
        return RetrainingPlan("training", epochs=self.epochs, rate="last")
