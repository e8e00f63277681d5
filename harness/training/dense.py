"""Trains the dense model once for all methods.

States by epoch are kept in a cache that jobs share.
"""

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
from harness.system.json_schema import parse_json
from harness.system.loaded_sources import adopt_if_current, undigested_sources
from harness.training.checkpointing import Checkpointer
from harness.training.context import Hooks, LoopState, OnEpoch, TrainingContext, TrainingCurve
from harness.training.folder_lock import folder_lock
from harness.training.state_files import load_stored, store
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import START, StepIndex
from harness.vocabulary.tensors import Tensors, clone_tensors

Forms = dict[str, tuple[tuple[int, ...], torch.dtype]]  # shape and dtype by name


@dataclass(frozen=True)
class DenseTraining:
    """Returns the state of the model at any step of dense training, from the cache or by training.

    Args:
        folder: Named by the hash of all that decides the training (model, data, recipe, seed,
            numerics key). The first job that needs a missing state trains it. Other jobs wait, and
            resume an interrupted training.
        trainer: Recipe of dense training.
        context: Data, ranks and seed.
        build: Returns the initial model.
        keep: Step indices that are stored for later rewinding.
        checkpointer: None saves nothing before the end.
        foreign: True if the folder was made under another numerics key. It is only read.
    """

    folder: Path
    trainer: Trainer
    context: TrainingContext
    build: Callable[[], nn.Module]
    keep: Collection[StepIndex]
    checkpointer: Checkpointer | None = None
    foreign: bool = False

    @property
    def end(self) -> StepIndex:
        return StepIndex(self.trainer.epochs)

    def normalized(self, index: StepIndex) -> StepIndex:
        """Returns the normalized index.

        Raises:
            ValueError: The index is beyond the recipe.
        """
        steps = self.trainer.steps_per_epoch(len(self.context.split))
        normalized = index.normalized(steps)
        if not START <= normalized <= self.end:
            epochs = self.trainer.epochs
            requested = f"step {index.step}" if index.step else f"epoch {index.epoch}"
            raise ValueError(
                f"{requested} is not in dense training, which has {epochs} epochs of {steps} "
                f"steps, {epochs * steps} in all; rewind to an earlier one or raise training.epochs"
            )
        return normalized

    def has(self, index: StepIndex) -> bool:
        """Returns True if `at(index)` needs no training."""
        return index == START or self._file(index).exists()

    def at(self, index: StepIndex, on_epoch: OnEpoch | None = None) -> Tensors:
        """Returns parameters and buffers at an index of the training. START is the initial model.

        A missing state is trained from the start again, bit for bit. `on_epoch(done, curve)` is
        called while training.

        Raises:
            ValueError: The index is beyond the recipe, or missing in a foreign folder.
            Stopped: After a signal. The training so far is saved.
        """
        return self.load_or_train(index, on_epoch)[0]

    def load_or_train(
        self, index: StepIndex, on_epoch: OnEpoch | None = None
    ) -> tuple[Tensors, TrainingCurve]:
        """Returns the state of `at` and the curve of the whole epochs up to it."""
        index, ranks = self.normalized(index), self.context.ranks
        model = self.build()
        if index == START:
            return clone_tensors(whole_state(model)), TrainingCurve()
        with folder_lock(self.folder, ranks, self.checkpointer):
            curve = self._load(model, index)
            if curve is None:
                writer = self._writer(model, index)
                hooks, resumed = self._hooks(writer, index, on_epoch)
                fit = self.trainer.fit(model, self.context, hooks, stop=index, resumed=resumed)
                curve = fit.curve
                self._complete(writer, index)
            state = whole_state(model)
            ranks.broadcast(list(state.values()))
            return clone_tensors(state), curve

    def _load(self, model: nn.Module, index: StepIndex) -> TrainingCurve | None:
        """Loads the state on rank 0 into the model.

        Returns its curve, or None if there is no state.
        """
        ranks = self.context.ranks
        loaded = self._stored(index) if ranks.is_main else None
        header = ranks.broadcast_object(loaded and (loaded[1], _forms(loaded[0])))
        if header is None:
            return None
        # The other ranks allocate buffers: a forward pass may have set or replaced one.
        load_into(model, loaded[0]) if loaded else load_buffers(model, _empty(header[1]))
        return TrainingCurve(**header[0])

    def _stored(self, index: StepIndex) -> tuple[Tensors, dict[str, Any]] | None:
        """Returns the state and its curve, or None if there is none or other code made it."""
        loaded = load_stored(self._file(index))
        note = parse_json(loaded[1]) if loaded else {}
        return (loaded[0], note["curve"]) if loaded and adopt_if_current(note["unnamed"]) else None

    def _writer(self, model: nn.Module, stop: StepIndex) -> "DenseStateWriter":
        if self.foreign:
            raise ValueError(
                f"epoch {stop.epoch} of dense training is not on disk, and this run's was made "
                "under other numerics (ranks, threads, device or torch); start it as it was "
                "started, or delete its folder"
            )
        return DenseStateWriter(
            self, model, {self.normalized(index) for index in self.keep} | {stop}
        )

    def _hooks(
        self, writer: "DenseStateWriter", stop: StepIndex, on_epoch: OnEpoch | None
    ) -> tuple[Hooks, LoopState | None]:
        """Returns the hooks that store states, and the state from which the training resumes."""

        def epoch_end(done: int, curve: TrainingCurve) -> None:
            writer.at(StepIndex(done), curve)
            if on_epoch:
                on_epoch(done, curve)

        before_step = writer.before_step if any(m.step for m in writer.wanted) else None
        hooks = Hooks(epoch_end=epoch_end, before_step=before_step)
        if not self.checkpointer:
            return hooks, None
        files = self.checkpointer.checkpoints(self.folder)
        saver = DenseSaver(self.checkpointer, files, writer.model)
        resumed = self.checkpointer.latest(files, lambda state: _beyond(state, stop))
        return replace(hooks, saver=saver), resumed

    def _complete(self, writer: "DenseStateWriter", stop: StepIndex) -> None:
        if stop.step:  # no step follows it
            writer.at(stop)
        if self.checkpointer:
            files = self.checkpointer.checkpoints(self.folder)
            # A complete training is not resumed.
            self.context.ranks.on_main(lambda: files.clear() if self.has(self.end) else None)

    def _file(self, index: StepIndex) -> Path:
        inside = f"-step-{index.step:06d}" if index.step else ""
        return self.folder / f"epoch-{index.epoch:05d}{inside}.safetensors"


def _forms(state: Tensors) -> Forms:
    return {name: (tuple(value.shape), value.dtype) for name, value in state.items()}


def _empty(forms: Forms) -> Tensors:
    return {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in forms.items()}


@dataclass(frozen=True)
class DenseStateWriter:
    """Stores the requested states on rank 0 during training, with the curve at an epoch's end."""

    dense: DenseTraining
    model: nn.Module
    wanted: Collection[StepIndex]

    def at(self, index: StepIndex, curve: TrainingCurve | None = None) -> None:
        if index in self.wanted:
            self.dense.context.ranks.on_main(lambda: self._store(index, curve))

    def _store(self, index: StepIndex, curve: TrainingCurve | None) -> None:
        note = {"curve": asdict(curve) if curve else {}, "unnamed": undigested_sources()}
        store(self.dense._file(index), whole_state(self.model), json.dumps(note))

    def before_step(self, number: int, optimizer: Optimizer) -> None:
        steps = self.dense.trainer.steps_per_epoch(len(self.dense.context.split))
        if number % steps:  # the end of an epoch is stored by epoch_end
            self.at(StepIndex(0, number).normalized(steps))


@dataclass(frozen=True)
class DenseSaver:
    """Saves dense training's state in its cache, from which any job may resume it."""

    checkpointer: Checkpointer
    files: Checkpoints
    model: nn.Module

    def begin(self, optimizer: Optimizer) -> None:
        self.checkpointer.unsaved.begin_training(self.model, {OPTIMIZER: optimizer})

    def is_due(self, step: int) -> bool:
        return self.checkpointer.is_due(step)

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        name = f"epoch-{epoch:05d}-step-{step:06d}"
        self.checkpointer.save(self.files, name, STEP, state(), self.model)


def _beyond(state: LoopState, stop: StepIndex) -> str:
    at = StepIndex(state["epoch"], state["step"])
    if at < stop:
        return ""
    return f"is of epoch {at.epoch}, step {at.step}, not before epoch {stop.epoch}, {stop.step}"
