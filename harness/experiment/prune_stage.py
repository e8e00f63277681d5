"""The prunings of a run: each level's rounds, on ranks that are alike, and what they let go."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import torch

from harness.allocation.base import Facts
from harness.experiment.context import RunContext
from harness.experiment.state import RunState
from harness.pruning.budget import Goal, round_goals
from harness.pruning.layer_curves import Curves, measure_curves
from harness.pruning.prunable import take_over
from harness.pruning.rounds import Rounds
from harness.training.evaluation import Measured
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import copied, prunable_weights


def shrink(context: RunContext, state: RunState, level: int, share: float) -> None:
    """Prunes the network and its masks to this share of what can be removed."""
    if context.experiment.may_grow:
        names = state.masks.masks.keys() - context.units.keys()
        state.unmasked = copied({name: state.model.get_parameter(name) for name in names})
    if state.pending_masks:
        state.masks.shrink_to(state.pending_masks)
        state.masks.apply_to(state.model)
    else:
        rounds = _ready(context, state, level)
        rounds.run(state.model, state.masks, _goals(context, state, share))
    state.pending_masks, state.kept_share = {}, share


def foresee(context: RunContext, state: RunState, level: int, share: float) -> None:
    """Decides the masks of the coming pruning, for a penalty that must know them."""
    rounds = _ready(context, state, level)
    found = rounds.foreseen(state.model, state.masks, _goals(context, state, share))
    state.pending_masks = rounds.agree(found)


def note_speedup(context: RunContext, state: RunState) -> None:
    """Dense / live multiply-accumulates, of the masks in force."""
    state.speedup = context.macs.dense / max(1, context.macs.left(state.masks.masks))


def release(context: RunContext, state: RunState, level: int) -> None:
    """Where units may recover until the last level, all are free after any other one."""
    if context.experiment.releases and level < len(context.shares):
        let_go(state)


def let_go(state: RunState) -> None:
    """All weights return, from 0, and their units with the biases and norms that they had:
    without these a unit would pass no gradient back through its ReLU, and stay dead."""
    masks = state.masks.masks
    now = {name: state.model.get_parameter(name).detach() for name in state.unmasked}
    before = {name: now[name].where(masks[name], old) for name, old in state.unmasked.items()}
    take_over(state.model, before)
    state.masks.replace({name: torch.ones_like(mask) for name, mask in masks.items()})
    state.kept_share = 1.0


def curves_of(context: RunContext, state: RunState, grid: Iterable[float]) -> Curves:
    """The curves of a run's network as it is now, on its validation data.

    Weights that the saliency would move to make up for pruned ones stay as they are.

    Raises:
        Stopped: a signal asked for it; the network is as it was.
    """
    what, model, units = context.experiment, state.model, context.units
    data = context.workload.calibration(what.calibration, what.training.batch_size)
    scores = what.pruner.unit_scores(model, state.masks, units, data)
    weights = prunable_weights(model)

    def evaluate() -> Measured:
        if context.journal:
            context.journal.stop_if_asked()
        return context.workload.validation(model)

    return measure_curves(
        model, scores, lambda kept: what.pruner.masks_of(kept, units, weights), grid, evaluate
    )


def _ready(context: RunContext, state: RunState, level: int) -> Rounds:
    """What prunes this level, on ranks that are alike."""
    ranks, what, journal = context.ranks, context.experiment, context.journal
    ranks.check_equal(state.masks.masks, "masks in force")
    ranks.check_replicas(state.model, "the network before a pruning")
    # For a part that draws from the global streams: alike on all ranks and after a restart.
    torch.manual_seed(derive(what.seed, "prune", level))
    facts = _with_curves(context, state)
    data = context.workload.calibration(what.calibration, what.training.batch_size)
    stop = journal.stop_if_asked if journal else lambda: None
    return Rounds(what.pruner, context.units, data, facts, ranks.agree, ranks.send, stop)


def _with_curves(context: RunContext, state: RunState) -> Facts:
    """What the run's allocation may know, with curves of the loss if it needs them."""
    allocation = context.experiment.pruner.allocation
    if not allocation.needs_curves:
        return context.facts
    curves = curves_of(context, state, cast(Any, allocation).grid)
    losses = {n: tuple((p.density, p.measured.loss) for p in curve) for n, curve in curves.items()}
    return replace(context.facts, curves=losses)


def _goals(context: RunContext, state: RunState, share: float) -> list[Goal]:
    """Returns the goals of the rounds from what is alive to this share."""
    what, account = context.experiment, context.requested.account
    held = what.pruner.alive(state.model, state.masks, context.units, context.facts, account.counts)
    end = share * account.removable
    return round_goals(sum(held.values()), end, account.counts, what.rounds)
