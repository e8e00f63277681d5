"""Takes some steps with each optimizer of a run, and checks that pruned weights stay 0."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from traceback import walk_tb

import torch
from torch.optim import Optimizer

from harness.experiment import train_stage
from harness.experiment.rehearsals.few_samples import (
    ANYWAY,
    TRANSIENT,
    Rehearsal,
    RehearsalFailed,
    line_of,
)
from harness.experiment.rehearsals.first_update import FirstUpdate
from harness.experiment.state import RunState, follow_own_masks
from harness.experiment.train_hooks import StepAction, TrainHooks
from harness.learning_rate.constant import Constant
from harness.mask_updates.base import MaskUpdater
from harness.metrics.size import PrunedWeightAlive, parameters_left
from harness.model_state.whole_state import load_into, whole_state
from harness.pruning.prunable import make_mask_store
from harness.system.errors import NotFinite
from harness.training.recipe_presets import steps_of
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import START
from harness.vocabulary.undisturbed import deepcopy_model

STEPS = 3  # a pruning inside a training comes before the second one


@dataclass(frozen=True)
class Trial:
    """Holds one training of a run.

    Args:
        key: of the recipe, "training" or "retraining".
        recipe: with the optimizer to try.
        masked: pruned weights have to stay 0.
        penalised: the training has the run's penalty.
        updater: the training updates its masks once, as this updater does at first.
        steps: of the run's own training.
    """

    key: str
    recipe: Trainer
    masked: bool = True
    penalised: bool = False
    updater: MaskUpdater | None = None
    steps: int = 0

    def take_steps(self, rehearsal: Rehearsal) -> None:
        """Takes some steps on a copy of the model, at the recipe's full learning rate.

        Raises:
            RehearsalFailed: a step fails, or moves a pruned weight.
        """
        state = _copy_of(rehearsal, self.masked)
        if self.recipe.autocast == "float16":
            rehearsal.leave_out(f"{self.key}.autocast=float16", "its scaler may skip steps")
        try:
            hooks = _hooks(rehearsal, state, self)
            context = rehearsal.context.workload.training_context("rehearsal")
            context = replace(context, validation=None)  # measuring is rehearsed apart
            small = _small(self.recipe, len(context.split))
            small.fit(state.model, context, hooks.hooks(lambda *_: None, None))
            parameters_left(state.model, state.masks.masks)
        except NotFinite as error:
            rehearsal.leave_out(self._subject, error)
        except PrunedWeightAlive as error:
            raise RehearsalFailed(self._moves(str(error))) from error
        except TRANSIENT:
            raise
        except Exception as error:
            if self.updater and isinstance(error, ValueError):  # trained weights may do without
                rehearsal.leave_out(self._subject, error)
            else:
                raise RehearsalFailed(self._fails(error)) from error

    @property
    def _subject(self) -> str:
        """Returns the key that is tried; of mask updates, with their name."""
        return f"mask_updates={type(self.updater).__name__}" if self.updater else self.key

    @property
    def _name(self) -> str:
        make = self.recipe.optimizer
        return f"{self.key}.optimizer={getattr(getattr(make, 'func', make), '__name__', make)}"

    def _fails(self, error: Exception) -> str:
        subject, hint = (self._name, "") if _is_of_optimizer(error) else (self._subject, ANYWAY)
        reason = f"{type(error).__name__}: {line_of(error)}{hint}"
        return f"{subject} fails at steps of two samples: {reason}"

    def _moves(self, message: str) -> str:
        layer, _, counts = message.partition(": ")
        return (
            f"{self._name} moves pruned weights, whose gradients are 0: in {layer}, "
            f"{counts.partition(' pruned values')[0]} are not 0 after {STEPS} steps; use an "
            "optimizer that leaves such weights at 0, as SGD, Adam and AdamW do"
        )


def trials(rehearsal: Rehearsal) -> Iterator[Trial]:
    """Yields the run's trainings: the dense one, with the penalty, and after a pruning.

    The last one comes again with an update of masks, if the run has any.
    """
    experiment = rehearsal.context.experiment
    if experiment.starts_trained and experiment.training.epochs:
        yield Trial("training", experiment.training, masked=False)
    if experiment.penalty and experiment.penalty.epochs:
        yield Trial("retraining", experiment.retraining, penalised=True)
    plan = experiment.finetune.plan(experiment.training.epochs, 1.0)
    resolved = experiment.next_recipe(1.0, rehearsal.context.samples)
    if plan and resolved:
        yield Trial(plan.recipe, resolved[0])
        if updater := experiment.mask_updater:
            steps = steps_of(resolved, rehearsal.samples)
            yield Trial(plan.recipe, resolved[0], updater=updater, steps=steps)


def _is_of_optimizer(error: Exception) -> bool:
    """True if the error comes from a call of an optimizer."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(isinstance(frame.f_locals.get("self"), Optimizer) for frame in frames)


def _copy_of(rehearsal: Rehearsal, masked: bool) -> RunState:
    before = rehearsal.state
    model = deepcopy_model(before.model if masked else rehearsal.original)
    state = replace(
        before, model=model, masks=make_mask_store(model, rehearsal.context.units, True)
    )
    follow_own_masks(rehearsal.context, state)
    if masked:
        state.masks.shrink_to(before.masks.masks)
    return state


def _small(recipe: Trainer, samples: int) -> Trainer:
    # The scaler of float16 may skip the first steps; a warm-up may begin at 0.
    autocast = None if recipe.autocast == "float16" else recipe.autocast
    return replace(
        recipe,
        learning_rate=Constant(),
        epochs=STEPS,
        batch_size=samples,
        accumulate=1,
        autocast=autocast,
        compile=None,  # for other shapes it would compile again
    )


def _hooks(rehearsal: Rehearsal, state: RunState, trial: Trial) -> TrainHooks:
    """Returns the hooks of the run's own training, at most with one update of masks."""
    context, experiment = rehearsal.context, rehearsal.context.experiment
    penalty = experiment.penalty if trial.penalised else None
    to_prune = {name: ~mask for name, mask in state.masks.masks.items()}
    add = penalty.make_gradient_hook(state.model, context.units, to_prune) if penalty else None
    teaches = experiment.distillation is not None and trial.masked and not trial.penalised
    inside = experiment.prune_at == "during_training" or experiment.mask_updates is not None
    prunes = inside and trial.masked and not penalty and not trial.updater
    teacher = deepcopy_model(rehearsal.original).eval().requires_grad_(False) if teaches else None
    return TrainHooks(
        context,
        state,
        int(trial.masked),
        train_stage.cost_meter(context, trial.recipe, START, lambda: 1, teaches),
        steps=STEPS,
        steps_per_epoch=1,
        mask_updater=FirstUpdate.of(trial.updater, trial.steps) if trial.updater else None,
        events={1: _pruning(rehearsal, state)} if prunes else {},
        gradient_hook=add,
        distillation_loss=train_stage.student(context, teacher) if teacher else None,
    )


def _pruning(rehearsal: Rehearsal, state: RunState) -> StepAction:
    """Gives the model its dense weights back, and returns the event that prunes it again."""
    masks = dict(state.masks.masks)
    state.masks.replace({name: torch.ones_like(mask) for name, mask in masks.items()})
    # Shapes are equal: neither this nor mask updates go with a compaction.
    load_into(state.model, whole_state(rehearsal.original))

    def prune(hooks: TrainHooks, optimizer: Optimizer) -> None:
        state.masks.replace(masks)
        state.masks.apply_to(state.model, optimizer)

    return prune
