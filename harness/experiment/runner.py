"""Runs an experiment: dense training; then per level prune, measure, retrain, measure."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.optim import Optimizer

from harness.distributed import Ranks
from harness.experiment import prune_stage, train_stage
from harness.experiment.context import RunContext, context_of
from harness.experiment.experiment import Experiment
from harness.experiment.recorder import Recorder
from harness.experiment.requested import PruneEvent
from harness.experiment.stage_cache import compute_once, stages_of
from harness.experiment.state import RunState, watch_unsaved
from harness.experiment.train_hooks import TrainHooks
from harness.model_state.whole_state import load_into
from harness.pruning.prunable import make_mask_store
from harness.pruning.removal.living import follow_masks
from harness.pruning.removal.units_left import units_left
from harness.run_folder.records import NO_TRAINING, STAGES, Trained, stage_index
from harness.run_folder.stage_keys import SharedStages
from harness.training.checkpointing import Checkpointer
from harness.vocabulary.step_index import START


class Stage(NamedTuple):
    """Names one stage of a run.

    Args:
        level: 0 for the dense model, then 1, 2, ...
        kind: a key of STAGE_FUNCTIONS.
        kept_fraction: kept of what can be removed, after the level's pruning.
    """

    level: int
    kind: str
    kept_fraction: float = 1.0


def run(recorder: Recorder) -> None:
    """Computes and records all remaining stages of a run.

    Raises:
        RanksDisagree: masks or weights differ between ranks.
        Stopped: a signal arrived, and the run is saved.
    """
    context, state = recorder.context, recorder.state
    recorder.sink.begin(len(context.kept_fractions), train_stage.epochs_left(context, state))
    during_training = context.experiment.prune_at == "during_training"
    stage_functions = (
        {**STAGE_FUNCTIONS, "finetuned": _retrain_pruning} if during_training else STAGE_FUNCTIONS
    )
    with ExitStack() as shared:
        for stage in _stages(recorder, shared):
            trained = stage_functions[stage.kind](recorder, stage)
            if trained is not None:
                recorder.record(stage.level, stage.kind, trained)


def _stages(recorder: Recorder, shared: ExitStack) -> Iterator[Stage]:
    """Yields the remaining stages in order. Shared stages are computed by one run only.

    shared: closed at the end of each shared stage.
    """
    context, state = recorder.context, recorder.state
    ends = stages_of(context, state)
    for end in ends:
        shared.enter_context(compute_once(recorder, end))
        yield from (stage for stage in _stages_until(context, end) if _is_left(state, stage))
        shared.pop_all().close()
    yield from (stage for stage in _stages_until(context) if _is_left(state, stage))


def _stages_until(context: RunContext, end: tuple[int, str] | None = None) -> Iterator[Stage]:
    experiment = context.experiment
    yield Stage(0, "dense" if experiment.starts_trained else "initial")
    if experiment.prune_at == "during_training":
        yield Stage(len(context.kept_fractions), "finetuned", context.kept_fractions[-1])
        return
    for level, kept_fraction in enumerate(context.kept_fractions, start=1):
        for kind in STAGES:
            yield Stage(level, kind, kept_fraction)
            if end == (level, kind):
                return


def _is_left(state: RunState, stage: Stage) -> bool:
    return state.done < stage_index(stage.level, stage.kind)


def prepare(
    experiment: Experiment,
    ranks: Ranks,
    dense: Path,
    checkpointer: Checkpointer | None = None,
    shared: SharedStages | None = None,
) -> "Prepared":
    """Builds the context, with all checks that are possible before training, and a new state.

    Args:
        experiment: the experiment to run.
        ranks: this process and its peers.
        dense: folder of the cache of this dense training; nothing is written yet.
        checkpointer: saves the run while it runs; None saves nothing.
        shared: stages in common with other runs; None computes all stages.

    Raises:
        ValueError: data, model, requested size, batch size or calibration do not fit each other.
    """
    context, model = context_of(experiment, ranks, dense, checkpointer, shared)
    watch_unsaved(context, model)
    masks = make_mask_store(model, context.units, experiment.may_grow)
    follow_masks(model, context.units, masks)
    return Prepared(context, RunState(model, masks))


class Prepared(NamedTuple):
    context: RunContext
    state: RunState


def _initial(recorder: Recorder, stage: Stage) -> Trained:
    return NO_TRAINING


def _dense(recorder: Recorder, stage: Stage) -> Trained:
    context, state = recorder.context, recorder.state
    on_epoch = recorder.on_epoch(0, (context.experiment.training, START))
    dense_state, curve = context.dense.load_or_train(context.dense.end, on_epoch)
    load_into(state.model, dense_state)
    return train_stage.dense(context, curve)


def _penalise(recorder: Recorder, stage: Stage) -> Trained | None:
    context, state, penalty = recorder.context, recorder.state, recorder.context.experiment.penalty
    if penalty is None:
        return None
    if penalty.needs_pending_masks and not state.training:
        prune_stage.preview_masks(context, state, stage.level, stage.kept_fraction)
    to_prune = {name: state.masks.masks[name] & ~mask for name, mask in state.pending_masks.items()}
    units = units_left(context.units, state.cut.kept_indices)
    gradient_hook = penalty.make_gradient_hook(state.model, units, to_prune)
    recipe = train_stage.penalty_recipe(context, penalty)
    return train_stage.train(
        recorder, stage.level, recipe, f"{stage.level}/penalty", gradient_hook=gradient_hook
    )


def _prune(recorder: Recorder, stage: Stage) -> Trained:
    context, state = recorder.context, recorder.state
    save = partial(recorder.save_between, stage.level)
    prune_stage.prune(context, state, stage.level, stage.kept_fraction, save)
    prune_stage.update_speedup(context, state)
    return NO_TRAINING


def _recalibrate(recorder: Recorder, stage: Stage) -> Trained | None:
    context, part = recorder.context, recorder.context.experiment.recalibration
    if part is None:
        return None
    batches = context.workload.inputs(part.samples, part.batch_size, "recalibration")
    part.apply(recorder.state.model, batches)
    subject = f"the model after recalibration by {type(part).__name__}"
    context.ranks.check_replicas(recorder.state.model, subject)
    return NO_TRAINING


def _retrain(recorder: Recorder, stage: Stage) -> Trained | None:
    context, state = recorder.context, recorder.state
    recipe = train_stage.next_recipe(context, state)
    if recipe is None:
        return None
    if not state.training:
        prune_stage.unmask_if_soft(context, state, stage.level)
        train_stage.load_initial_weights(context, state, stage.level)
    mask_updater = context.experiment.mask_updater
    return train_stage.train(recorder, stage.level, recipe, stage.level, mask_updater)


def _retrain_pruning(recorder: Recorder, stage: Stage) -> Trained | None:
    """Runs the one training in which masks change."""
    context, state = recorder.context, recorder.state
    recipe = train_stage.next_recipe(context, state)
    if recipe is None:
        return None
    if not state.training:
        train_stage.load_initial_weights(context, state, 1)
    events = {
        event.step: partial(_apply_event, recorder, event)
        for event in context.requested.prune_events
    }
    return train_stage.train(recorder, stage.level, recipe, 1, events=events)


def _apply_event(
    recorder: Recorder, event: PruneEvent, hooks: TrainHooks, optimizer: Optimizer
) -> None:
    """Prunes inside a training, or unmasks all weights if the schedule says so."""
    context, state = recorder.context, recorder.state
    if event.level is None:
        prune_stage.unmask_all(context, state)
        hooks.forget(optimizer)  # AC/DC's dense phases begin without momentum
        return
    # Inside an epoch each rank's forward passes have changed buffers by its own samples.
    context.ranks.broadcast(list(state.model.buffers()))
    device = context.ranks.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        prune_stage.prune(context, state, event.level, event.kept_fraction, lambda: None)
    state.masks.apply_to(state.model, optimizer)
    recorder.record(event.level, "pruned", hooks.trained(hooks.step), save=False)
    prune_stage.unmask_if_soft(context, state, event.level)


STAGE_FUNCTIONS: dict[str, Callable[[Recorder, Stage], Trained | None]] = {
    "initial": _initial,
    "dense": _dense,
    "penalised": _penalise,
    "pruned": _prune,
    "recalibrated": _recalibrate,
    "finetuned": _retrain,
}
