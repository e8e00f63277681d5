"""Measures a run's state, writes its records, and saves it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from harness.experiment.context import RunContext
from harness.experiment.results.latency import measure_latency
from harness.experiment.state import RunState, StageRecord, checkpoint, measure
from harness.metrics.latency import Latency
from harness.model_state.unsaved import OPTIMIZER
from harness.run_folder.checkpoints import STAGE, STEP, Checkpoints
from harness.run_folder.records import NO_TRAINING, Identity, Record, Trained, stage_index
from harness.run_folder.sinks import RunSink
from harness.task.base import primary_of
from harness.training.context import LoopState, OnEpoch, TrainingCurve
from harness.training.recipe_presets import ResolvedRecipe
from harness.vocabulary.bitpack import digest


@dataclass(frozen=True)
class Recorder:
    """Writes a run's records, and saves its state after each record.

    Args:
        identity: names the run in its records.
        sink: receives records, epochs and timings.
        files: the run's checkpoints, or None to save nothing.
        latency: how latency is measured, or None.
    """

    context: RunContext
    state: RunState
    identity: Identity
    sink: RunSink
    files: Checkpoints | None = None
    latency: Latency | None = None

    def record(
        self, level: int, stage: str, trained: Trained = NO_TRAINING, save: bool = True
    ) -> None:
        """Measures the model, appends a record, and saves the run.

        save: False inside a training, where the run cannot be saved between stages.

        Raises:
            RanksDisagree: masks or models differ between ranks.
            Stopped: a signal arrived, and the run is saved.
        """
        context, state = self.context, self.state
        # Compare before measuring: a rank that raises for a nonzero pruned weight would leave the
        # others waiting.
        context.ranks.check_equal(state.masks.masks, "masks in force")
        measured, in_force = measure(context, state)
        masks = digest(in_force) if level else ""
        fields = {"level": level, "stage": stage, "masks": masks, **measured, **vars(trained)}
        fields["norms"] = context.norms
        if context.macs.uncounted:
            fields |= {"training_flops": None, "training_flops_dense": None}
        state.found_records.append({"kept_fraction": state.kept_fraction, "record": fields})
        self.show(state.found_records[-1])
        self.measure_latency()
        state.done = stage_index(level, stage)
        if save:
            self.save()

    def show(self, stage_record: StageRecord) -> None:
        """Logs the record of a stage of this run, or of a run that shares the stage."""
        record = record_of(self.context, stage_record, self.identity)
        self.context.ranks.on_main(lambda: self.sink.log(record))

    def replay(self, stage_record: StageRecord) -> None:
        """Logs a stage that another run computed, with the epochs of its training."""
        record = stage_record["record"]
        if record["level"]:  # epochs of dense training are shown by the run that trains it
            measured = record["epoch_losses"], record["epoch_validation"]
            primary = primary_of(self.context.experiment.task)
            self.sink.replay(record["level"], *measured, primary)
        self.show(stage_record)

    def on_epoch(self, level: int, resolved: ResolvedRecipe) -> OnEpoch:
        """Returns the function that shows each epoch of a training."""
        recipe, begin = resolved

        def show(done: int, curve: TrainingCurve) -> None:
            ended, epochs = done - begin.epoch, recipe.epochs - begin.epoch
            primary = primary_of(self.context.experiment.task)
            self.sink.epoch(level, ended, epochs, curve.losses[-1], curve.validation[-1], primary)

        return show

    def save(self) -> None:
        """Saves the run at the end of its last stage."""
        checkpointer = self.context.checkpointer
        if checkpointer and self.files:
            name = "level-{level:02d}-{stage}".format(**self.state.found_records[-1]["record"])
            saved = checkpoint(self.context, self.state)
            checkpointer.save(self.files, name, STAGE, saved, self.state.model)

    def save_between(self, level: int) -> None:
        """Saves the run between two parts of a pruning."""
        context, state = self.context, self.state
        if context.checkpointer and self.files and state.pruning:
            context.ranks.check_equal(state.masks.masks, "masks in force")
            name = f"level-{level:02d}-part-{state.pruning.done:04d}"
            saved = checkpoint(context, state)
            context.checkpointer.save(self.files, name, STEP, saved, state.model)

    def saver(
        self, level: int, hooks_state: Callable[[], dict[str, Any]], gradient_hook: object
    ) -> "LevelSaver | None":
        """Returns what saves a training of the run, or None.

        Args:
            level: the level of the training.
            hooks_state: returns the state of the hooks, which is saved beside the loop's own.
            gradient_hook: adds a penalty's gradients, or None.
        """
        ready = self.context.checkpointer and self.files
        return LevelSaver(self, level, hooks_state, gradient_hook) if ready else None

    def measure_latency(self) -> None:
        """Measures the speed of the model, if the newest record is a result."""
        latency, stage = self.latency, _stage_of(self.state.found_records[-1]["record"])
        if latency and latency.batch_sizes and self._is_result(**stage):
            measure_latency(self.context, self.state, latency, self.sink, stage)

    def _is_result(self, level: int, stage: str) -> bool:
        """True for level 0, and for the last stage of a level that is not intermediate."""
        if level == 0:
            return True
        context = self.context
        if context.requested.is_intermediate(level):
            return False
        if context.experiment.next_recipe(self.state.speedup, context.samples) is not None:
            return stage == "finetuned"
        return stage == ("recalibrated" if context.experiment.recalibration else "pruned")


def record_of(context: RunContext, stage_record: StageRecord, identity: Identity) -> Record:
    requested: dict[str, Any] = context.requested.record_fields(stage_record["kept_fraction"])
    return Record(
        **vars(identity),
        **stage_record["record"],
        **requested,
        seed=context.experiment.seed,
        is_intermediate=context.requested.is_intermediate(stage_record["record"]["level"]),
    )


@dataclass(frozen=True)
class LevelSaver:
    """Saves a training in the run's checkpoints, after comparing the replicas."""

    recorder: Recorder
    level: int
    hooks_state: Callable[[], dict[str, Any]]
    gradient_hook: object

    def begin(self, optimizer: Optimizer) -> None:
        context = self.recorder.context
        assert context.checkpointer
        parts = {OPTIMIZER: optimizer, "penalty's gradient hook": self.gradient_hook}
        context.checkpointer.unsaved.begin_training(self.recorder.state.model, parts)

    def is_due(self, step: int) -> bool:
        checkpointer = self.recorder.context.checkpointer
        return checkpointer is not None and checkpointer.is_due(step)

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        context, run, files = self.recorder.context, self.recorder.state, self.recorder.files
        assert context.checkpointer and files
        context.ranks.check_equal(run.masks.masks, "masks in force")
        name = f"level-{self.level:02d}-epoch-{epoch:05d}-step-{step:06d}"
        saved = checkpoint(context, run, {**state(), "inside": self.hooks_state()})
        context.checkpointer.save(files, name, STEP, saved, run.model)


def _stage_of(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("level", "stage")}
