"""What of a run changes, in one place, saved and loaded beside its fields."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from harness.experiment.context import RunContext
from harness.model_state.whole_state import load_into, whole_state
from harness.pruning.masks import MaskStore
from harness.run_folder.checkpoints import State
from harness.run_folder.records import STAGES, place
from harness.training.context import LoopState
from harness.vocabulary.bitpack import pack, unpack
from harness.vocabulary.tensors import Tensors

# Of a stage: the kept share in force, and what its record says that is not of this run alone.
Found = dict[str, Any]


@dataclass
class RunState:
    """All that the levels to come depend on. Each field has one writer.

    By the stages: model, masks; by prune_stage: kept_share (of what can be removed, in force),
    speedup (dense / live MACs that the next retraining begins with), pending_masks (of the coming
    pruning, where a penalty had to know them), unmasked (biases and norms as they were before
    their units were pruned, if these may recover); by train_stage: training (of one that was cut
    off); by the recorder: done (the last stage that is recorded; -1 none, 0 dense or initial, then
    four per level) and found (at each of them); by the run: mixed (made on several numerics).
    """

    model: nn.Module
    masks: MaskStore
    done: int = -1
    found: list[Found] = field(default_factory=list)
    kept_share: float = 1.0
    speedup: float = 1.0
    pending_masks: Tensors = field(default_factory=dict)
    unmasked: Tensors = field(default_factory=dict)
    training: LoopState | None = None
    mixed: bool = False

    def is_finished(self, context: RunContext) -> bool:
        return self.done >= place(len(context.shares), STAGES[-1])

    def state_dict(self, training: LoopState | None = None) -> State:
        """Plain values and tensors, by field; the model is in `training`, if one is under way."""
        return {
            "model": None if training else whole_state(self.model),
            "masks": _packed(self.masks.masks),
            "done": self.done,
            "found": json.dumps(self.found),
            "kept_share": self.kept_share,
            "speedup": self.speedup,
            "pending_masks": _packed(self.pending_masks),
            "unmasked": self.unmasked,
            "training": training,
            "mixed": self.mixed,
        }

    def load_state_dict(self, state: State, may_grow: bool) -> None:
        """may_grow: masks in force need not hold all that is alive in those that are loaded."""
        device = next(iter(self.masks.masks.values())).device
        for name in ("done", "kept_share", "speedup", "training", "mixed"):
            setattr(self, name, state[name])
        self.found = json.loads(state["found"])
        masks = self._unpacked(state["masks"])
        (self.masks.replace if may_grow else self.masks.shrink_to)(masks)
        self.pending_masks = self._unpacked(state["pending_masks"])
        self.unmasked = {name: value.to(device) for name, value in state["unmasked"].items()}
        if state["model"]:
            load_into(self.model, state["model"])

    def _unpacked(self, packed: Tensors) -> Tensors:
        masks = self.masks.masks
        return {n: unpack(p.to(masks[n].device), masks[n].shape) for n, p in packed.items()}


def checkpoint(context: RunContext, state: RunState, training: LoopState | None = None) -> State:
    """The state, and where the dense training lies that it goes back to."""
    return {**state.state_dict(training), "dense": context.dense.folder.name}


def resumed(context: RunContext, state: RunState, saved: State) -> RunContext:
    """Brings the state to where an earlier start of the run has saved it.

    Returns the context with the dense training that it goes back to: perhaps one of another number
    of ranks, which is read where it lies, and not trained again.
    """
    state.load_state_dict(saved, context.experiment.may_grow)
    state.mixed |= context.journal is not None and saved["numerics"] != context.journal.numerics
    dense = context.dense
    if saved["dense"] == dense.folder.name:
        return context
    home = dense.folder.parents[1] / saved["dense"][:2] / saved["dense"]
    return replace(context, dense=replace(dense, folder=home, foreign=True))


def _packed(masks: Tensors) -> Tensors:
    return {name: pack(mask) for name, mask in masks.items()}
