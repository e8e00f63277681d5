"""Saves a run, and takes up what was saved: between two trainings, or inside one."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch.optim import Optimizer

from harness.experiment.train_hooks import Inside
from harness.model_state.unsaved import OPTIMIZER
from harness.model_state.whole_state import load_into, whole_state
from harness.run_folder.checkpoints import STAGE, STEP, Checkpoints, State
from harness.training.checkpointing import Journal
from harness.training.context import LoopState
from harness.vocabulary.bitpack import pack, unpack
from harness.vocabulary.tensors import Tensors

if TYPE_CHECKING:
    from harness.experiment.runner import Levels


def standing(levels: "Levels", training: LoopState | None = None) -> State:
    """All that the levels to come depend on; the network is in `training`, if there is one."""
    return {
        "passed": levels.passed,
        "records": len(levels.past),
        "past": json.dumps(levels.past),
        "mixed": levels.mixed,
        "share": levels.share,
        "speedup": levels.speedup,
        "dense": levels.dense.folder.name,
        "masks": _packed(levels.store.masks),
        "chosen": _packed(levels.chosen),
        "along": levels.along,
        "network": None if training else whole_state(levels.network),
        "training": training,
    }


def take_up(levels: "Levels", saved: State) -> None:
    """The inverse of `standing`: what was saved is in force again."""
    for name in ("passed", "mixed", "share", "speedup"):
        setattr(levels, name, saved[name])
    levels.past = json.loads(saved["past"])
    # Also from a later level on: those in force need not hold all that is alive there.
    store = levels.store
    (store.replace if levels.what.may_grow else store.shrink_to)(_unpacked(levels, saved["masks"]))
    levels.chosen = _unpacked(levels, saved["chosen"])
    device = levels.ranks.device
    levels.along = {name: value.to(device) for name, value in saved["along"].items()}
    if saved["network"]:
        load_into(levels.network, saved["network"])
    if saved["dense"] != levels.dense.folder.name:
        # Made by another number of ranks: what it trained is read, not trained again.
        home = levels.dense.folder.parents[1] / saved["dense"][:2] / saved["dense"]
        levels.dense = replace(levels.dense, folder=home, foreign=True)
    levels.training = saved["training"]


def _packed(masks: Tensors) -> Tensors:
    return {name: pack(mask) for name, mask in masks.items()}


def _unpacked(levels: "Levels", packed: Tensors) -> Tensors:
    masks = levels.store.masks
    return {n: unpack(p.to(levels.ranks.device), masks[n].shape) for n, p in packed.items()}


def save_stage(levels: "Levels") -> None:
    """Saves the run at the end of its last stage."""
    if levels.journal and levels.files:
        name = "level-{level:02d}-{stage}".format(**levels.past[-1]["record"])
        levels.journal.save(levels.files, name, STAGE, standing(levels), levels.network)


@dataclass(frozen=True)
class LevelSaver:
    """Keeps a training in the run's checkpoints, after the replicas were compared."""

    levels: "Levels"
    level: int
    inside: Inside
    journal: Journal
    files: Checkpoints

    def begin(self, optimizer: Optimizer) -> None:
        parts = {OPTIMIZER: optimizer, "penalty's adder": self.inside.adder}
        self.journal.unsaved.begin_training(self.levels.network, parts)

    def due(self, step: int) -> bool:
        return self.journal.due(step)

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        self.levels.ranks.check_equal(self.levels.store.masks, "masks in force")
        name = f"level-{self.level:02d}-epoch-{epoch:05d}-step-{step:06d}"
        training = {**state(), "inside": self.inside.state()}
        whole = standing(self.levels, training)
        self.journal.save(self.files, name, STEP, whole, self.levels.network)
