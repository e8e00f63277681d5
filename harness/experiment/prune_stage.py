"""The prunings of a run: each level's rounds, on ranks that are alike, and what they let go."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from harness.allocation.base import ModelInfo
from harness.experiment.context import RunContext
from harness.experiment.state import RunState, live_macs, watch, whole
from harness.pruning.budget import round_goals
from harness.pruning.compaction import compacted, sliced
from harness.pruning.layer_curves import SensitivityCurves, measure_curves
from harness.pruning.prunable import copy_into, make_mask_store
from harness.pruning.pruning_order import Event
from harness.pruning.rounds import Rounds
from harness.training.evaluation import EvaluationResult
from harness.vocabulary.nested import tensors_in
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors, copied, evaluating, prunable_weights
from harness.vocabulary.undisturbed import duplicate

CLOSE = 1e-4  # of outputs, to the largest of them
ENOUGH = 256  # samples, to see that a removed unit counts: on few of them it may be off


def shrink(
    context: RunContext, state: RunState, level: int, share: float, save: Callable[[], None]
) -> None:
    """Prunes the network and its masks to this share of what can be removed.

    save: called between two parts of a network that is pruned part by part.
    """
    widen(context, state)
    if context.experiment.may_grow and not state.event:
        names = state.masks.masks.keys() - context.units.keys()
        state.unmasked = copied({name: state.model.get_parameter(name) for name in names})
    if state.pending_masks:
        state.masks.shrink_to(state.pending_masks)
        state.masks.apply_to(state.model)
    else:
        rounds = _ready(context, state, level, save)
        state.event = state.event or _event(context, state, share)
        rounds.run(state.model, state.masks, state.event)
    state.pending_masks, state.kept_share, state.event = {}, share, None
    compact(context, state)


def foresee(context: RunContext, state: RunState, level: int, share: float) -> None:
    """Decides the masks of the coming pruning, for a penalty that must know them."""
    rounds = _ready(context, state, level)
    found = rounds.foreseen(state.model, state.masks, _event(context, state, share))
    state.pending_masks = rounds.agree(found)


def widen(context: RunContext, state: RunState) -> None:
    """Gives the network its dense shapes back, pruned where something was removed."""
    if state.kept:
        network, masks = whole(context, state)
        _take(context, state, network, {name: masks[name] for name in state.masks.masks})
        state.kept = {}


def compact(context: RunContext, state: RunState) -> None:
    """Removes what the run's compaction can remove of what is pruned.

    Raises:
        RanksDisagree: something else on another rank.
        ValueError: the smaller network computes something else.
    """
    part = context.experiment.compaction
    if part is None:
        return
    kept = part.kept(state.model, state.masks.masks)
    flat = {f"{n}, {d}": i for n, dims in kept.items() for d, i in enumerate(dims) if i is not None}
    context.ranks.check_equal(flat, "what is left of the network")
    small = compacted(part, duplicate(state.model), kept)
    _check_same(context, state.model, small)
    _take(context, state, small, sliced(state.masks.masks, kept))
    state.kept = kept


def note_speedup(context: RunContext, state: RunState) -> None:
    """Dense / live multiply-accumulates, of the masks in force."""
    state.speedup = context.macs.dense / live_macs(context, state)


def unmask_if_soft(context: RunContext, state: RunState, level: int) -> None:
    """Where units may recover until the last level, all are free after any other one."""
    if context.experiment.unmasks_between_levels and level < len(context.shares):
        unmask_all(state)


def unmask_all(state: RunState) -> None:
    """All weights return, from 0, and their units with the biases and norms that they had:
    without these a unit would pass no gradient back through its ReLU, and stay dead."""
    masks = state.masks.masks
    now = {name: state.model.get_parameter(name).detach() for name in state.unmasked}
    before = {name: now[name].where(masks[name], old) for name, old in state.unmasked.items()}
    copy_into(state.model, before)
    state.masks.replace({name: torch.ones_like(mask) for name, mask in masks.items()})
    state.kept_share = 1.0


def curves_of(context: RunContext, state: RunState, grid: Iterable[float]) -> SensitivityCurves:
    """The curves of a run's network as it is now, on its validation data.

    Weights that the saliency would move to make up for pruned ones stay as they are.

    Raises:
        Stopped: a signal asked for it; the network is as it was.
    """
    experiment, model, units = context.experiment, state.model, context.units
    data = context.workload.calibration(experiment.calibration, experiment.training.batch_size)
    scores = experiment.pruner.unit_scores(model, state.masks, units, data)
    weights = prunable_weights(model)

    def evaluate() -> EvaluationResult:
        if context.checkpointer:
            context.checkpointer.raise_if_stopped()
        return context.workload.validation(model)

    return measure_curves(
        model, scores, lambda kept: experiment.pruner.masks_of(kept, units, weights), grid, evaluate
    )


def _ready(
    context: RunContext, state: RunState, level: int, save: Callable[[], None] = lambda: None
) -> Rounds:
    """What prunes this level, on ranks that are alike."""
    ranks, experiment, checkpointer = context.ranks, context.experiment, context.checkpointer
    ranks.check_equal(state.masks.masks, "masks in force")
    ranks.check_replicas(state.model, "the network before a pruning")
    # For a part that draws from the global streams: alike on all ranks and after a restart.
    torch.manual_seed(derive(experiment.seed, "prune", level))
    model_info = _with_curves(context, state)
    data = context.workload.calibration(experiment.calibration, experiment.training.batch_size)

    def begin(number: int) -> None:
        if number:
            torch.manual_seed(derive(experiment.seed, "prune", level, number))
        if checkpointer:
            checkpointer.raise_if_stopped()

    def end(number: int) -> None:
        if experiment.pruning_order and state.event and number < len(state.event.steps):
            save()

    order = experiment.pruning_order
    return Rounds(
        experiment.pruner,
        context.units,
        data,
        model_info,
        ranks.broadcast_masks,
        ranks.broadcast,
        begin,
        end,
        order,
    )


def _with_curves(context: RunContext, state: RunState) -> ModelInfo:
    """What the run's allocation may know, with curves of the loss if it needs them."""
    allocation = context.experiment.pruner.allocation
    if not allocation.needs_curves:
        return context.model_info
    curves = curves_of(context, state, cast(Any, allocation).grid)
    losses = {n: tuple((p.density, p.measured.loss) for p in curve) for n, curve in curves.items()}
    return replace(context.model_info, curves=losses)


def _event(context: RunContext, state: RunState, share: float) -> Event:
    """Returns the steps from what is alive to this share."""
    experiment, account = context.experiment, context.requested.account
    held = experiment.pruner.alive(
        state.model, state.masks, context.units, context.model_info, account.counts
    )
    end = share * account.removable
    if experiment.pruning_order is None:
        return Event.of(round_goals(sum(held.values()), end, account.counts, experiment.rounds))
    parts = experiment.pruning_order.parts(state.model)
    return Event.by_parts(parts, held, end, account.counts, experiment.rounds)


def _take(context: RunContext, state: RunState, network: nn.Module, masks: Tensors) -> None:
    state.model, state.masks = network, make_mask_store(network, context.units)
    state.masks.shrink_to(masks)
    watch(context, network)


def _check_same(context: RunContext, before: nn.Module, small: nn.Module) -> None:
    sample = context.workload.splits.train.inputs[:ENOUGH]
    with evaluating(before), evaluating(small), torch.no_grad():
        pairs = zip(tensors_in(before(sample)), tensors_in(small(sample)), strict=True)
        for one, other in pairs:
            apart = float((one - other).abs().max() / one.abs().max().clamp(min=1e-30))
            if not apart <= CLOSE:
                raise ValueError(
                    f"compaction {type(context.experiment.compaction).__name__} removed something "
                    f"that counts: outputs on training samples differ by {apart:.1e} of the "
                    f"largest, and {CLOSE:.0e} is rounding; leave out what other layers still use"
                )
