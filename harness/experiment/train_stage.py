"""Runs the trainings of a run after its dense one: recipe, initial weights and cost."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness.experiment.context import RunContext
from harness.experiment.recorder import Recorder
from harness.experiment.state import RunState, macs_left
from harness.experiment.train_hooks import DistillationLoss, StepAction, TrainHooks
from harness.mask_updates.base import MaskUpdater
from harness.model_state.whole_state import load_into
from harness.penalty.base import Penalty
from harness.run_folder.records import STAGES, Trained
from harness.task.base import label_mask_of
from harness.training.context import FitResult, TrainingCurve
from harness.training.cost_meter import CostMeter, trained_fields
from harness.training.recipe_presets import ResolvedRecipe, steps_of
from harness.training.trainer import Trainer
from harness.vocabulary.given.inputs import Inputs, call_model
from harness.vocabulary.step_index import START, StepIndex


def dense(context: RunContext, curve: TrainingCurve) -> Trained:
    """Returns the cost and the curve of dense training, whichever run computed it."""
    recipe = context.experiment.training
    meter = cost_meter(context, recipe, START, lambda: context.macs.dense)
    meter.count_until(steps_of((recipe, START), context.samples))
    return trained_fields(
        meter.pop(), recipe.steps_per_epoch(context.samples), "reset", FitResult(None, curve)
    )


def next_recipe(context: RunContext, state: RunState) -> ResolvedRecipe | None:
    """Returns the recipe and start of the current or next retraining, or None for no retraining."""
    return context.experiment.next_recipe(state.speedup, context.samples)


def penalty_recipe(context: RunContext, penalty: Penalty) -> ResolvedRecipe:
    return replace(context.experiment.retraining, epochs=penalty.epochs), START


def load_initial_weights(context: RunContext, state: RunState, level: int) -> None:
    """Loads the weights that retraining starts from, under the masks in force."""
    experiment, workload = context.experiment, context.workload
    weights = experiment.finetune.initial_weights(
        experiment.training.epochs, context.dense.at, lambda: workload.random_state(level)
    )
    if experiment.control == "reinitialised":
        weights = workload.random_state(level)
    if weights is not None:
        load_into(state.model, state.cut.slice(weights))
    state.masks.apply_to(state.model)


def train(
    recorder: Recorder,
    level: int,
    resolved: ResolvedRecipe,
    streams: int | str,
    mask_updater: MaskUpdater | None = None,
    events: Mapping[int, StepAction] | None = None,
    gradient_hook: Callable[[int], None] | None = None,
) -> Trained:
    """Trains the model, or resumes an interrupted training.

    streams: names the random streams. The other arguments are those of TrainHooks.
    """
    context, state, (recipe, begin) = recorder.context, recorder.state, resolved
    distills = context.experiment.distillation is not None and not gradient_hook
    # Before the first step, because the dense model may have to be trained.
    taught = student(context, _teacher(context)) if distills else None
    train_hooks = TrainHooks(
        context,
        state,
        level,
        cost_meter(context, recipe, begin, lambda: macs_left(context, state), distills),
        steps=steps_of(resolved, context.samples),
        steps_per_epoch=recipe.steps_per_epoch(context.samples),
        mask_updater=mask_updater,
        events=events,
        gradient_hook=gradient_hook,
        distillation_loss=taught,
    )
    resumed, state.training = state.training, None
    if resumed:
        train_hooks.load(resumed["inside"])
    saver = recorder.saver(level, train_hooks.state, gradient_hook)
    hooks = train_hooks.hooks(recorder.on_epoch(level, resolved), saver)
    training = context.workload.training_context(streams)
    fit = recipe.fit(state.model, training, hooks, begin, resumed=resumed)
    return train_hooks.trained(train_hooks.steps, fit)


def epochs_left(context: RunContext, state: RunState) -> int:
    """Returns the number of epochs still to train.

    Ignores changes in length that depend on later prunings (Scratch-B).
    """
    experiment, resolved = context.experiment, next_recipe(context, state)
    retraining = resolved[0].epochs - resolved[1].epoch if resolved else 0
    dense_epochs = experiment.training.epochs
    if not experiment.starts_trained or state.done >= 0 or context.dense.has(context.dense.end):
        dense_epochs = 0
    if experiment.prune_at == "during_training":
        per_level, count = retraining, int(not state.is_finished(context))
    else:
        per_level = retraining + (experiment.penalty.epochs if experiment.penalty else 0)
        count = len(context.kept_fractions) - max(0, state.done) // len(STAGES)
    done = state.training["epoch"] - resolved[1].epoch if state.training and resolved else 0
    return dense_epochs + count * per_level - done


def cost_meter(
    context: RunContext,
    recipe: Trainer,
    begin: StepIndex,
    macs: Callable[[], int],
    taught: bool = False,
) -> CostMeter:
    """Returns what adds up the cost of a training by this recipe.

    macs: returns the multiply-accumulates of one example under the masks in force.
    """
    first = begin.steps(recipe.steps_per_epoch(context.samples))
    return CostMeter(context.samples, recipe.batch_size, first, context.macs.dense, macs, taught)


def student(context: RunContext, teacher: nn.Module) -> DistillationLoss:
    """Returns the loss of a student of this teacher, by the run's distillation."""
    distillation = context.experiment.distillation
    assert distillation is not None

    def loss(inputs: Inputs, outputs: Tensor, labels: Tensor, own: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_outputs = call_model(teacher, inputs)
        counts = label_mask_of(context.experiment.task, labels)
        return distillation.loss(outputs, teacher_outputs, own, counts)

    return loss


def _teacher(context: RunContext) -> nn.Module:
    """Returns the dense model, in eval mode."""
    model = context.workload.initial_model()
    load_into(model, context.dense.at(context.dense.end))
    return model.eval().requires_grad_(False)
