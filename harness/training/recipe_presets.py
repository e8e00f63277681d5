"""Makes the recipe of a retraining from its plan."""

from dataclasses import replace

from harness.finetune.base import RetrainingPlan
from harness.learning_rate.base import LearningRate
from harness.learning_rate.held import Held
from harness.learning_rate.stretched import Stretched
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import StepIndex

ResolvedRecipe = tuple[Trainer, StepIndex]  # a recipe and where in it a training begins


def resolve_recipe(plan: RetrainingPlan, training: Trainer, retraining: Trainer) -> Trainer:
    """Returns the recipe that the plan names, with the plan's length and learning rate.

    Raises:
        ValueError: The plan needs the last learning rate of a recipe without epochs.
    """
    recipe = {"training": training, "retraining": retraining}[plan.recipe]
    rate: LearningRate = recipe.learning_rate
    if plan.rate == "last":
        rate = Held(rate, recipe.epochs)
    epochs = recipe.epochs if plan.epochs is None else plan.epochs
    if plan.stretch != 1:
        rate = Stretched(rate, epochs)
    return replace(recipe, epochs=stretch_epochs(epochs, plan.stretch), learning_rate=rate)


def stretch_epochs(epochs: int, stretch: float) -> int:
    """Returns round(stretch x epochs), but at least 1 unless epochs is 0.

    >>> stretch_epochs(10, 1.26), stretch_epochs(1, 0.2), stretch_epochs(0, 3.0)
    (13, 1, 0)
    """
    return max(min(1, epochs), round(stretch * epochs))


def steps_of(resolved: ResolvedRecipe | None, samples: int) -> int:
    """Returns the optimizer steps of a training on so many samples, 0 for None."""
    if resolved is None:
        return 0
    recipe, begin = resolved
    per_epoch = recipe.steps_per_epoch(samples)
    return max(0, recipe.epochs * per_epoch - begin.steps(per_epoch))
