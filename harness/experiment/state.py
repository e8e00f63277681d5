"""Holds everything of a run that changes, and saves and loads it."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from harness.experiment.context import RunContext
from harness.experiment.workload import DenseShaped
from harness.groups.compact import Compacted
from harness.groups.network_latency import latency_of
from harness.groups.network_size import products_left
from harness.groups.units import RemovableUnits
from harness.metrics.size import ratio
from harness.model_state.whole_state import load_into, whole_state
from harness.pruning.masks import MaskStore
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruning_order import PruningProgress
from harness.pruning.removal import compaction
from harness.pruning.removal.compaction import WHOLE, Cut, expand_masks, expand_model
from harness.pruning.removal.living import follow_masks
from harness.run_folder.checkpoints import State
from harness.run_folder.records import STAGES, stage_index
from harness.training.context import LoopState
from harness.vocabulary.bitpack import pack, unpack
from harness.vocabulary.given.latency_table import NANOSECONDS
from harness.vocabulary.tensors import Counts, Tensors

# Of a stage: the kept fraction in force, and the fields of its record that shared runs have in
# common.
StageRecord = dict[str, Any]


@dataclass
class RunState:
    """Holds everything that later levels depend on. A resumed run loads all fields.

    Args:
        model: written by the stages.
        masks: the masks in force; written by the stages.
        done: index of the last recorded stage: -1 none, 0 dense or initial, then four per level;
            written by the recorder.
        found_records: one per recorded stage; written by the recorder.
        kept_fraction: of what can be removed, in force; written by prune_stage, as all down to
            kept_indices.
        speedup: dense / remaining MACs, for the next retraining.
        pending_masks: of the coming pruning, for a penalty that needs them.
        unmasked_params: biases and norms from before their units were pruned, if these may recover.
        pruning: the progress of a pruning under way.
        cut: how the model is smaller than the dense one.
        training: an interrupted training; written by train_stage.
        mixed_numerics: computed on several numerics; written by the run.
    """

    model: nn.Module
    masks: MaskStore
    done: int = -1
    found_records: list[StageRecord] = field(default_factory=list)
    kept_fraction: float = 1.0
    speedup: float = 1.0
    pending_masks: Tensors = field(default_factory=dict)
    unmasked_params: Tensors = field(default_factory=dict)
    pruning: PruningProgress | None = None
    cut: Cut = WHOLE
    training: LoopState | None = None
    mixed_numerics: bool = False

    def is_finished(self, context: RunContext) -> bool:
        return self.done >= stage_index(len(context.kept_fractions), STAGES[-1])

    def state_dict(self, training: LoopState | None = None) -> State:
        """Returns plain values and tensors; inside a training the model is in `training`."""
        return {
            "model": None if training else whole_state(self.model),
            "masks": _packed(self.masks.masks),
            "done": self.done,
            "found_records": json.dumps(self.found_records),
            "kept_fraction": self.kept_fraction,
            "speedup": self.speedup,
            "pending_masks": _packed(self.pending_masks),
            "unmasked_params": self.unmasked_params,
            "pruning": self.pruning and self.pruning.state_dict(),
            "cut": self.cut.state_dict(),
            "training": training,
            "mixed_numerics": self.mixed_numerics,
        }

    def load_state_dict(self, state: State, context: RunContext) -> None:
        """Replaces the state by a saved one."""
        device, may_grow = context.ranks.device, context.experiment.may_grow
        self._reshape(Cut.load(state["cut"]), context)
        for name in ("done", "kept_fraction", "speedup", "training", "mixed_numerics"):
            setattr(self, name, state[name])
        self.found_records = json.loads(state["found_records"])
        self.pruning = state["pruning"] and PruningProgress.load(state["pruning"])
        masks = self._unpacked(state["masks"])
        (self.masks.replace if may_grow else self.masks.shrink_to)(masks)
        self.pending_masks = self._unpacked(state["pending_masks"])
        self.unmasked_params = {
            name: value.to(device) for name, value in state["unmasked_params"].items()
        }
        if state["model"]:
            load_into(self.model, state["model"])

    def _reshape(self, cut: Cut, context: RunContext) -> None:
        if cut.is_whole and self.cut.is_whole:
            return
        self.cut = cut
        self.model = cut.apply(context.workload.initial_model())
        self.masks = make_mask_store(self.model, context.units)
        watch_unsaved(context, self.model)

    def _unpacked(self, packed: Tensors) -> Tensors:
        masks = self.masks.masks
        return {n: unpack(p.to(masks[n].device), masks[n].shape) for n, p in packed.items()}


def in_dense_shapes(context: RunContext, state: RunState) -> DenseShaped:
    """Returns the model and masks themselves if nothing was removed, otherwise copies."""
    if state.cut.is_whole:
        return DenseShaped(state.model, state.masks.masks)
    dense = context.workload.initial_model()
    parameters = {name: parameter.detach() for name, parameter in dense.named_parameters()}
    masks = expand_masks(state.masks.masks, state.cut, parameters)
    return DenseShaped(expand_model(dense, state.model, state.cut), masks)


def own_masks(context: RunContext, dense: DenseShaped) -> Tensors:
    """Returns the masks in dense shapes of the parameters of which units own entries."""
    masked = {name for each in context.units.values() for name in each.masked}
    names = (name for name, _ in dense.model.named_parameters())
    return {name: dense.masks[name] for name in names if name in masked}


def without_pruned_units(context: RunContext, state: RunState) -> Compacted:
    """Returns the model, in dense shapes, without its pruned units.

    Raises:
        ValueError: the smaller model computes another function.
        RanksDisagree: another rank removes other entries.
    """
    sample = context.workload.sample()
    return compaction.without_pruned_units(
        state.model, state.masks.masks, sample, context.ranks.check_equal, context.norms
    )


def follow_own_masks(context: RunContext, state: RunState) -> None:
    """Makes norms take their statistics over the units left; a smaller model has no others."""
    if state.cut.is_whole:
        follow_masks(state.model, context.units, state.masks)


def macs_left(context: RunContext, state: RunState) -> int:
    """Returns the multiply-accumulates of one example under the masks in force, at least 1."""
    masks = state.masks.masks
    if not state.cut.is_whole:
        return max(1, context.workload.macs(state.model).remaining(masks))
    return max(1, context.macs.remaining(masks, activations_left(context, masks)))


def measure(context: RunContext, state: RunState) -> tuple[dict[str, object], Tensors]:
    """Returns the model's size and accuracy, by the record's field names, and its dense masks."""
    dense = in_dense_shapes(context, state)
    weights = {name: p.detach() for name, p in dense.model.named_parameters()}
    left = activations_left(context, weights)
    sizes = context.macs, context.scope, left
    measured = context.workload.measure(state.model, dense, *sizes)
    return {**measured, **latency_left(context, dense.model, weights)}, own_masks(context, dense)


def latency_left(
    context: RunContext, model: nn.Module, weights: Tensors
) -> dict[str, float | None]:
    """Returns what the run's latency table says of the network that is left; {} without one.

    model, weights: in dense shapes; a unit whose weights are 0 counts as removed.
    """
    table = context.model_info.latency_table
    if table is None:
        return {}
    kept = _kept(context, weights)
    left = max(1, latency_of(model, context.units, table).left(kept))
    return {"table_milliseconds": left / NANOSECONDS, "table_speedup": ratio(table.dense, left)}


def activations_left(context: RunContext, left: Tensors) -> int:
    """Returns the multiply-accumulates of products of two activations that are left.

    left: masks, or the weights themselves, in dense shapes.
    """
    return products_left(context.units, _kept(context, left), context.macs.activations)


def _kept(context: RunContext, left: Tensors) -> Counts:
    """Returns how many units of each set that can be cut out are left."""
    return {
        name: int(each.alive(left).sum())
        for name, each in context.units.items()
        if isinstance(each, RemovableUnits)
    }


def watch_unsaved(context: RunContext, model: nn.Module) -> None:
    """Starts to name values of this model and of the parts that no checkpoint holds."""
    if context.checkpointer:
        parts = {**vars(context.experiment), "splits": context.workload.splits}
        context.checkpointer.unsaved.begin(model, parts)


def checkpoint(context: RunContext, state: RunState, training: LoopState | None = None) -> State:
    """Returns the state, and the folder of the dense training that the run rewinds to."""
    return {**state.state_dict(training), "dense": context.dense.folder.name}


def resume(context: RunContext, state: RunState, saved: State) -> RunContext:
    """Restores the state of an earlier start of the run.

    Returns the context with the dense training that the run rewinds to. It may be one of another
    number of ranks, which is read from its folder and not trained again.
    """
    state.load_state_dict(saved, context)
    state.mixed_numerics |= (
        context.checkpointer is not None and saved["numerics"] != context.checkpointer.numerics
    )
    dense = context.dense
    if saved["dense"] == dense.folder.name:
        return context
    home = dense.folder.parents[1] / saved["dense"][:2] / saved["dense"]
    return replace(context, dense=replace(dense, folder=home, foreign=True))


def _packed(masks: Tensors) -> Tensors:
    return {name: pack(mask) for name, mask in masks.items()}
