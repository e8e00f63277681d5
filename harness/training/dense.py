"""Dense training, once for all methods: states by epoch, kept in a cache that jobs share."""

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from harness.model_state.unsaved import OPTIMIZER
from harness.model_state.whole_state import load_buffers, load_into, whole_state
from harness.run_folder.checkpoints import STEP, Checkpoints
from harness.system.loaded_sources import admitted, unnamed
from harness.training.checkpointing import Journal
from harness.training.context import Curve, Hooks, LoopState, OnEpoch, Setting
from harness.training.folder_lock import turn
from harness.training.state_files import store, stored
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import START, Moment
from harness.vocabulary.tensors import Tensors, copied

Forms = dict[str, tuple[tuple[int, ...], torch.dtype]]  # shape and dtype by name


@dataclass(frozen=True)
class DenseTraining:
    """State of the network at any moment of dense training.

    folder: named by the hash of all that decides the training (model, data, recipe, seed,
    numerics key). What is missing there is trained by whoever needs it first; others wait, and
    go on where it stopped if it was interrupted.
    keep: moments that are stored on the way, for later rewinding.
    journal: None saves nothing before the end.
    foreign: the folder was made under another numerics key; it is read, nothing is trained.
    """

    folder: Path
    trainer: Trainer
    setting: Setting
    build: Callable[[], nn.Module]
    keep: Collection[Moment]
    journal: Journal | None = None
    foreign: bool = False

    @property
    def end(self) -> Moment:
        return Moment(self.trainer.epochs)

    def settled(self, moment: Moment) -> Moment:
        """
        Raises:
            ValueError: the moment is not in the recipe.
        """
        steps = self.trainer.steps_per_epoch(len(self.setting.split))
        found = moment.settled(steps)
        if not START <= found <= self.end:
            epochs = self.trainer.epochs
            asked = f"step {moment.step}" if moment.step else f"epoch {moment.epoch}"
            raise ValueError(
                f"{asked} is not in dense training, which has {epochs} epochs of {steps} steps, "
                f"{epochs * steps} in all; rewind to an earlier one or raise training.epochs"
            )
        return found

    def has(self, moment: Moment) -> bool:
        """Whether `at(moment)` will find it without training."""
        return moment == START or self._file(moment).exists()

    def at(self, moment: Moment, on_epoch: OnEpoch | None = None) -> Tensors:
        """Parameters and buffers at a moment of the training, START being the initial network.

        A missing one is trained from the start again, bit for bit. `on_epoch(done, curve)` is
        called while training.

        Raises:
            ValueError: the moment is beyond the recipe, or missing in a foreign folder.
            Stopped: a signal asked for it; what was trained is saved.
        """
        return self.come_to(moment, on_epoch)[0]

    def come_to(self, moment: Moment, on_epoch: OnEpoch | None = None) -> tuple[Tensors, Curve]:
        """As `at`; with the curve of the whole epochs up to a moment at an epoch's end."""
        moment, ranks = self.settled(moment), self.setting.ranks
        model = self.build()
        if moment == START:
            return copied(whole_state(model)), Curve()
        with turn(self.folder, ranks, self.journal):
            curve = self._load(model, moment)
            if curve is None:
                keeper = self._keeper(model, moment)
                hooks, resumed = self._hooks(keeper, moment, on_epoch)
                fit = self.trainer.fit(model, self.setting, hooks, stop=moment, resumed=resumed)
                curve = fit.curve
                self._complete(keeper, moment)
            state = whole_state(model)
            ranks.broadcast(list(state.values()))
            return copied(state), curve

    def _load(self, model: nn.Module, moment: Moment) -> Curve | None:
        """Gives the model the state that is there, on rank 0; None: there is none."""
        ranks = self.setting.ranks
        found = self._stored(moment) if ranks.is_main else None
        told = ranks.broadcast_object(found and (found[1], _forms(found[0])))
        if told is None:
            return None
        # The other ranks make room: a forward pass may have set or replaced a buffer.
        load_into(model, found[0]) if found else load_buffers(model, _empty(told[1]))
        return Curve(**told[0])

    def _stored(self, moment: Moment) -> tuple[Tensors, dict[str, Any]] | None:
        """The state and its curve; None if there is none, or one of other code."""
        found = stored(self._file(moment))
        note = json.loads(found[1]) if found else {}
        return (found[0], note["curve"]) if found and admitted(note["unnamed"]) else None

    def _keeper(self, model: nn.Module, stop: Moment) -> "Keeper":
        if self.foreign:
            raise ValueError(
                f"epoch {stop.epoch} of dense training is not on disk, and this run's was made "
                "under other numerics (ranks, threads, device or torch); start it as it was "
                "started, or delete its folder"
            )
        return Keeper(self, model, {self.settled(moment) for moment in self.keep} | {stop})

    def _hooks(
        self, keeper: "Keeper", stop: Moment, on_epoch: OnEpoch | None
    ) -> tuple[Hooks, LoopState | None]:
        """What keeps states on the way, and the state from which the training goes on."""

        def epoch_end(done: int, curve: Curve) -> None:
            keeper.at(Moment(done), curve)
            if on_epoch:
                on_epoch(done, curve)

        before_step = keeper.before_step if any(m.step for m in keeper.wanted) else None
        hooks = Hooks(epoch_end=epoch_end, before_step=before_step)
        if not self.journal:
            return hooks, None
        files = self.journal.files(self.folder)
        saver = DenseSaver(self.journal, files, keeper.model)
        resumed = self.journal.newest(files, lambda state: _beyond(state, stop))
        return replace(hooks, saver=saver), resumed

    def _complete(self, keeper: "Keeper", stop: Moment) -> None:
        if stop.step:  # no step follows it
            keeper.at(stop)
        if self.journal:
            files = self.journal.files(self.folder)
            # Once it is whole nobody goes on with it.
            self.setting.ranks.on_main(lambda: files.clear() if self.has(self.end) else None)

    def _file(self, moment: Moment) -> Path:
        inside = f"-step-{moment.step:06d}" if moment.step else ""
        return self.folder / f"epoch-{moment.epoch:05d}{inside}.safetensors"


def _forms(state: Tensors) -> Forms:
    return {name: (tuple(value.shape), value.dtype) for name, value in state.items()}


def _empty(forms: Forms) -> Tensors:
    return {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in forms.items()}


@dataclass(frozen=True)
class Keeper:
    """Stores the states that are wanted, on rank 0, as the training comes by; those at an epoch's
    end with the curve up to there."""

    dense: DenseTraining
    model: nn.Module
    wanted: Collection[Moment]

    def at(self, moment: Moment, curve: Curve | None = None) -> None:
        if moment in self.wanted:
            self.dense.setting.ranks.on_main(lambda: self._store(moment, curve))

    def _store(self, moment: Moment, curve: Curve | None) -> None:
        note = {"curve": asdict(curve) if curve else {}, "unnamed": unnamed()}
        store(self.dense._file(moment), whole_state(self.model), json.dumps(note))

    def before_step(self, number: int, optimizer: Optimizer) -> None:
        steps = self.dense.trainer.steps_per_epoch(len(self.dense.setting.split))
        if number % steps:  # an epoch's end is kept at its end
            self.at(Moment(0, number).settled(steps))


@dataclass(frozen=True)
class DenseSaver:
    """Keeps dense training's state in its cache, where any job may take it up."""

    journal: Journal
    files: Checkpoints
    model: nn.Module

    def begin(self, optimizer: Optimizer) -> None:
        self.journal.unsaved.begin_training(self.model, {OPTIMIZER: optimizer})

    def due(self, step: int) -> bool:
        return self.journal.due(step)

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        name = f"epoch-{epoch:05d}-step-{step:06d}"
        self.journal.save(self.files, name, STEP, state(), self.model)


def _beyond(state: LoopState, stop: Moment) -> str:
    at = Moment(state["epoch"], state["step"])
    if at < stop:
        return ""
    return f"is of epoch {at.epoch}, step {at.step}, not before epoch {stop.epoch}, {stop.step}"
