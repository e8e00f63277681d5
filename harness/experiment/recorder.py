"""Measures a run's state, writes its records, and saves it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from harness.experiment.context import RunContext
from harness.experiment.state import RunState, StageRecord, checkpoint, measure
from harness.metrics.latency import Latency, Stopwatch
from harness.model_state.unsaved import OPTIMIZER
from harness.run_folder.checkpoints import STAGE, STEP, Checkpoints
from harness.run_folder.environment import device_name
from harness.run_folder.records import NO_TRAINING, Identity, Record, Trained, stage_index
from harness.run_folder.sinks import RunSink
from harness.system.names import printable
from harness.training.context import LoopState, OnEpoch, TrainingCurve
from harness.training.recipe_presets import ResolvedRecipe
from harness.vocabulary.bitpack import digest
from harness.vocabulary.tensors import eval_mode

SECONDS_AT_ONCE = 1.0  # of measuring per call; waiting ranks get an answer after each


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
            self.sink.replay(record["level"], record["epoch_losses"], record["epoch_top1"])
        self.show(stage_record)

    def on_epoch(self, level: int, resolved: ResolvedRecipe) -> OnEpoch:
        """Returns the function that shows each epoch of a training."""
        recipe, begin = resolved

        def show(done: int, curve: TrainingCurve) -> None:
            ended, epochs = done - begin.epoch, recipe.epochs - begin.epoch
            self.sink.epoch(level, ended, epochs, curve.losses[-1], curve.top1[-1])

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
        """Measures the forward pass of the model, if the newest record is a result.

        Pruned weights are zeros in dense tensors, so no mask makes the pass faster. A physically
        smaller model is faster, which whole units allow and single weights do not.

        Rank 0 measures alone. If a measurement fails (a batch beyond the memory), a warning says so
        and the run continues.
        """
        latency, record = self.latency, self.state.found_records[-1]["record"]
        if (
            latency is None
            or latency.batch_size is None
            or not self._is_result(**_stage_of(record))
        ):
            return
        ranks, checkpointer = self.context.ranks, self.context.checkpointer
        with (
            torch.random.fork_rng(devices=[ranks.device] if ranks.device.type == "cuda" else []),
            eval_mode(self.state.model),
            torch.no_grad(),
        ):
            watch, done, error = self._stopwatch(latency, latency.batch_size), False, ""
            while not done:
                done, error = ranks.on_main(lambda: _measure_some(watch))
                if checkpointer:
                    checkpointer.raise_if_stopped()
        ranks.on_main(lambda: self._report_latency(latency, watch, error))

    def _stopwatch(self, latency: Latency, batch: int) -> Stopwatch:
        train, device = self.context.workload.splits.train, self.context.ranks.device
        indices = torch.arange(batch, device=device) % len(train)

        def forward() -> None:
            self.state.model(inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        inputs = next(iter(train.batches([indices])))[0]
        return Stopwatch(forward, latency.repeats, latency.warm_up)

    def _report_latency(self, latency: Latency, watch: Stopwatch, error: str) -> None:
        stage = _stage_of(self.state.found_records[-1]["record"])
        if error:
            where = "level {level} {stage}".format(**stage)
            print(
                f"warning: {where}: latency was not measured: {printable(error)}", file=sys.stderr
            )
            return
        low, median, high = (round(1000 * seconds, 4) for seconds in watch.quartiles())
        self.sink.log_timing(
            event="latency",
            **stage,
            batch_size=latency.batch_size,
            milliseconds_median=median,
            milliseconds_low=low,
            milliseconds_high=high,
            device=device_name(self.context.ranks.device),
            dtype=str(next(self.state.model.parameters()).dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
        )

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


def _measure_some(watch: Stopwatch) -> tuple[bool, str]:
    """Returns whether the measurement is complete, and why it failed."""
    try:
        return watch.run_for(SECONDS_AT_ONCE), ""
    except Exception as error:  # of the model or the memory: other ranks wait, the run continues
        return True, (str(error).splitlines() or [type(error).__name__])[0]


def _stage_of(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("level", "stage")}
