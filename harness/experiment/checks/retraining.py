"""Says of an experiment whether and from what it retrains, and what its parts are called."""

from harness.experiment.config import ExperimentConfig
from harness.training.recipe_presets import resolve_recipe
from harness.vocabulary.step_index import StepIndex


def starts_anew(experiment: ExperimentConfig) -> bool:
    """True if retraining takes no weights that training has made."""
    epochs, finetune = experiment.training.epochs, experiment.finetune
    replaced = finetune.initial_weights(epochs, lambda index: {}, dict) is not None
    return replaced and not any(map(any, finetune.dense_checkpoints_needed(epochs)))


def trains(experiment: ExperimentConfig) -> bool:
    """True if retraining has at least one epoch."""
    plan = experiment.finetune.plan(experiment.training.epochs, 1.0)
    recipe = plan and resolve_recipe(plan, experiment.training, experiment.retraining)
    return bool(plan and recipe and plan.begin < StepIndex(recipe.epochs))


def retrains(experiment: ExperimentConfig) -> bool:
    return experiment.finetune.plan(experiment.training.epochs, 1.0) is not None


def name_of(part: object) -> str:
    """Returns a part's name in conf/, which is that of its module."""
    kind, (package, _, module) = type(part), type(part).__module__.rpartition(".")
    return module if package.startswith("harness.") else kind.__name__
