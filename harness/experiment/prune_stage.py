"""Prunes one level of a run: rounds on equal ranks, compaction, and unmasking."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from harness.allocation.base import ModelInfo
from harness.experiment.context import RunContext
from harness.experiment.state import (
    RunState,
    follow_own_masks,
    in_dense_shapes,
    macs_left,
    own_masks,
    watch_unsaved,
    without_pruned_units,
)
from harness.groups.units import GroupUnits, RemovableUnits, masks_of
from harness.pruning.budget import round_sizes
from harness.pruning.layer_curves import SensitivityCurves, measure_curves
from harness.pruning.prunable import copy_into, make_mask_store
from harness.pruning.pruning_order import PruningProgress
from harness.pruning.removal.compaction import WHOLE, Cut
from harness.pruning.removal.living import norms_under
from harness.pruning.rounds import Rounds
from harness.training.evaluation import EvaluationResult
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors, clone_tensors


def prune(
    context: RunContext, state: RunState, level: int, kept_fraction: float, save: Callable[[], None]
) -> None:
    """Prunes the model and its masks to this kept fraction of what can be removed.

    save: called between two parts of a model that is pruned part by part.
    """
    restore_dense_shapes(context, state)
    if context.experiment.may_grow and not state.pruning:
        own = {n for n, each in context.units.items() if not isinstance(each, RemovableUnits)}
        names = state.masks.masks.keys() - own
        state.unmasked_params = clone_tensors(
            {name: state.model.get_parameter(name) for name in names}
        )
    if state.pending_masks:
        state.masks.shrink_to(state.pending_masks)
        state.masks.apply_to(state.model)
    else:
        rounds = _prepare_rounds(context, state, level, save)
        state.pruning = state.pruning or _begin_pruning(context, state, kept_fraction)
        rounds.run(state.model, state.masks, state.pruning)
    state.pending_masks, state.kept_fraction, state.pruning = {}, kept_fraction, None
    compact(context, state)


def preview_masks(context: RunContext, state: RunState, level: int, kept_fraction: float) -> None:
    """Computes the masks of the coming pruning, for a penalty that needs them."""
    rounds = _prepare_rounds(context, state, level)
    masks = rounds.preview_masks(
        state.model, state.masks, _begin_pruning(context, state, kept_fraction)
    )
    state.pending_masks = rounds.broadcast_masks(masks)


def restore_dense_shapes(context: RunContext, state: RunState) -> None:
    """Gives the model its dense shapes back, with 0 where entries were removed."""
    if not state.cut.is_whole:
        dense = in_dense_shapes(context, state)
        _replace_model(context, state, dense.model, own_masks(context, dense), WHOLE)


def compact(context: RunContext, state: RunState) -> None:
    """Removes the pruned units with compact=levels.

    Raises:
        ValueError: the smaller model computes another function.
    """
    if context.experiment.compact != "levels":
        return
    made = without_pruned_units(context, state)
    cut = Cut.to_train(made)
    smaller = cut.apply(state.model) if cut.scales else made.model
    _replace_model(context, state, smaller, cut.slice(state.masks.masks), cut)


def update_speedup(context: RunContext, state: RunState) -> None:
    """Sets the speed-up to dense / remaining multiply-accumulates under the masks in force."""
    state.speedup = context.macs.dense / macs_left(context, state)


def unmask_if_soft(context: RunContext, state: RunState, level: int) -> None:
    """Unmasks all units after every level but the last, with soft pruning."""
    if context.experiment.unmasks_between_levels and level < len(context.kept_fractions):
        unmask_all(context, state)


def unmask_all(context: RunContext, state: RunState) -> None:
    """Sets all masks to True. Weights restart at 0.

    Of whole units that holds for their rows; their biases, norms and the columns that read them
    get their saved values back. Without these values a unit would pass no gradient back through
    its ReLU, and never recover.
    """
    masks = state.masks.masks
    current = {name: state.model.get_parameter(name).detach() for name in state.unmasked_params}
    values = {name: saved.clone() for name, saved in state.unmasked_params.items()}
    for each in context.units.values():
        if isinstance(each, GroupUnits):
            for name, mask in each.row_masks(each.alive(masks)).items():
                values[name].mul_(mask)
    copy_into(state.model, {n: current[n].where(masks[n], value) for n, value in values.items()})
    state.masks.replace({name: torch.ones_like(mask) for name, mask in masks.items()})
    state.kept_fraction = 1.0


def measure_layer_curves(
    context: RunContext, state: RunState, grid: Iterable[float]
) -> SensitivityCurves:
    """Measures the sensitivity curves of a run's model as it is now, on its validation data.

    Weights that the saliency would change to compensate for pruned ones stay unchanged.

    Raises:
        Stopped: a signal arrived; the model is unchanged.
    """
    experiment, model, units = context.experiment, state.model, context.units
    data = context.workload.calibration(
        experiment.calibration_samples, experiment.training.batch_size
    )
    scores = experiment.pruner.unit_scores(model, state.masks, units, data)

    def evaluate() -> EvaluationResult:
        if context.checkpointer:
            context.checkpointer.raise_if_stopped()
        return context.workload.validation(model)

    def norms(masks: Tensors) -> AbstractContextManager[None]:
        return norms_under(model, units, masks, state.masks.masks)

    return measure_curves(
        model,
        scores,
        lambda kept: masks_of(units, kept, state.masks.masks),
        grid,
        evaluate,
        experiment.pruner.structure.select,
        norms,
    )


def _prepare_rounds(
    context: RunContext, state: RunState, level: int, save: Callable[[], None] = lambda: None
) -> Rounds:
    """Returns the rounds that prune this level, after checking that ranks are equal."""
    ranks, experiment, checkpointer = context.ranks, context.experiment, context.checkpointer
    ranks.check_equal(state.masks.masks, "masks in force")
    ranks.check_replicas(state.model, "the model before a pruning")
    # For a part that draws from the global streams: equal on all ranks and after a restart.
    torch.manual_seed(derive(experiment.seed, "prune", level))
    model_info = _model_info_with_curves(context, state)
    data = context.workload.calibration(
        experiment.calibration_samples, experiment.training.batch_size
    )

    def before_step(number: int) -> None:
        if number:
            torch.manual_seed(derive(experiment.seed, "prune", level, number))
        if checkpointer:
            checkpointer.raise_if_stopped()

    def after_step(number: int) -> None:
        if experiment.pruning_order and state.pruning and number < len(state.pruning.steps):
            save()

    order = experiment.pruning_order
    return Rounds(
        experiment.pruner,
        context.units,
        data,
        model_info,
        ranks.broadcast_masks,
        ranks.broadcast,
        before_step,
        after_step,
        order,
    )


def _model_info_with_curves(context: RunContext, state: RunState) -> ModelInfo:
    """Returns what the run's allocation may read, with sensitivity curves if it needs them."""
    allocation = context.experiment.pruner.allocation
    if not allocation.needs_curves:
        return context.model_info
    curves = measure_layer_curves(context, state, cast(Any, allocation).grid)
    losses = {n: tuple((p.density, p.measured.loss) for p in curve) for n, curve in curves.items()}
    return replace(context.model_info, curves=losses)


def _begin_pruning(context: RunContext, state: RunState, kept_fraction: float) -> PruningProgress:
    """Returns the steps from the alive sizes to this kept fraction."""
    experiment, size_model = context.experiment, context.requested.size_model
    order, rounds = experiment.pruning_order, experiment.rounds
    end, counts = kept_fraction * size_model.removable, size_model.counts
    if order is not None:
        end, counts = context.requested.end_of_parts(kept_fraction)
    sizes = experiment.pruner.alive_sizes(
        state.model, state.masks, context.units, context.model_info, counts
    )
    if order is None:
        return PruningProgress.of(round_sizes(sum(sizes.values()), end, counts, rounds))
    return PruningProgress.by_parts(order.parts(state.model), sizes, end, counts, rounds)


def _replace_model(
    context: RunContext, state: RunState, model: nn.Module, masks: Tensors, cut: Cut
) -> None:
    state.model, state.masks, state.cut = model, make_mask_store(model, context.units), cut
    follow_own_masks(context, state)
    state.masks.shrink_to(masks)
    watch_unsaved(context, model)
