"""Runs tiny whole runs in this process, and records each of their steps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command import TINY
from silent import ME, Silent
from torch import Tensor

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.run_folder.records import Record
from harness.training.batches.batch_changes import ChangedBatch
from harness.training.context import Hooks
from harness.training.loop import Loop
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import Batch, Tensors, clone_tensors

# 40 samples in batches of 16, 16 and 8: 3 steps an epoch, 2 epochs of dense training. The network
# is 8-6-4: 48 + 24 = 72 prunable weights, and as many multiply-accumulates of one sample.
SMALL = (
    *TINY, "data.train=40", "data.validation=8", "data.test=16", "calibration.samples=16",
    "training.batch_size=16", "retraining.batch_size=16", "model.hidden=[6]", "schedule.final=0.5",
)  # fmt: skip
SAMPLES, WEIGHTS, PER_EPOCH = 40, 72, 3

TWO_LEVELS = ("schedule=geometric", "schedule.levels=2", "schedule.final=0.25")
BATCH_NORM = "model.batch_norm=true"


class Step(NamedTuple):
    """Holds one optimizer step.

    streams: names its training: 0 is dense, 1 retraining at level 1, "1/penalty". at: in its
    recipe. new: the optimizer has no state yet. weights: before the step. gradients: as the
    optimizer gets them. batches, losses: of the step, per micro batch.
    """

    streams: int | str
    at: StepIndex
    rate: float
    new: bool
    weights: Tensors
    gradients: Tensors
    batches: list[Batch]
    losses: list[float]


class Whole(Silent):
    """Holds a run, its steps, and its models and masks by level and stage."""

    def __init__(self, levels: runner.Prepared):
        super().__init__()
        self.levels = levels
        self.steps: list[Step] = []
        self.starts: dict[int | str, tuple[StepIndex, Tensors]] = {}
        self.networks: dict[tuple[int, str], Tensors] = {}
        self.masks: dict[tuple[int, str], Tensors] = {}
        self.batches: list[Batch] = []  # of the step that is under way, part by part
        self.losses: list[float] = []

    @property
    def stages(self) -> list[tuple[int, str]]:
        return [(record.level, record.stage) for record in self.records]

    def record(self, level: int, stage: str) -> Record:
        (found,) = [r for r in self.records if (r.level, r.stage) == (level, stage)]
        return found

    def of(self, streams: int | str) -> list[Step]:
        return [step for step in self.steps if step.streams == streams]

    def rates(self, streams: int | str) -> list[float]:
        return [step.rate for step in self.of(streams)]

    def step(self, loop: Loop) -> None:
        named = dict(loop.model.named_parameters())
        gradients = {name: p.grad for name, p in named.items() if p.grad is not None}
        (group,) = loop.update.optimizer.param_groups
        weights = clone_tensors({name: p.detach() for name, p in named.items()})
        self.steps.append(
            Step(
                loop.context.level,
                loop.at,
                group["lr"],
                not loop.update.optimizer.state,
                weights,
                clone_tensors(gradients),
                self.batches.copy(),
                self.losses.copy(),
            )  # fmt: skip
        )
        self.batches.clear()
        self.losses.clear()

    def log(self, record: Record) -> None:
        super().log(record)
        place = record.level, record.stage
        self.networks[place] = clone_tensors(self.levels.state.model.state_dict())
        self.masks[place] = clone_tensors(self.levels.state.masks.masks)


def whole_run(folder: Path, *overrides: str, small: Sequence[str] = SMALL) -> Whole:
    """Runs a whole run.

    folder: of the cache of dense training. small: the overrides that come first.
    """
    levels = runner.prepare(build(compose_config([*small, *overrides])), Ranks(), folder)
    whole = Whole(levels)

    def run_epoch(loop: Loop, stop: StepIndex) -> None:
        start = loop.at, clone_tensors(loop.model.state_dict())
        whole.starts.setdefault(loop.context.level, start)
        handle = loop.update.optimizer.register_step_pre_hook(lambda *_: whole.step(loop))
        methods["run_epoch"](loop, stop)
        handle.remove()

    def loss_of(loop: Loop, batch: ChangedBatch) -> Tensor:
        loss: Tensor = methods["_loss"](loop, batch)
        whole.batches.append((batch.inputs.clone(), batch.labels.clone()))
        whole.losses.append(float(loss.detach()))
        return loss

    watching = {"run_epoch": run_epoch, "_loss": loss_of}
    methods: dict[str, Callable[..., Any]] = {name: getattr(Loop, name) for name in watching}
    with pytest.MonkeyPatch.context() as patch:
        for name, method in watching.items():
            patch.setattr(Loop, name, method)
        runner.run(Recorder(*levels, ME, whole))
    return whole


def plain(levels: runner.Prepared) -> list[Tensors]:
    """Returns the state of a new dense training before each of its steps, and at its end."""
    model, states = levels.context.workload.initial_model(), []
    hooks = Hooks(before_step=lambda *_: states.append(clone_tensors(model.state_dict())))
    levels.context.experiment.training.fit(
        model, levels.context.workload.training_context(0), hooks
    )
    return [*states, clone_tensors(model.state_dict())]


def under(masks: Tensors, state: Tensors) -> Tensors:
    return {name: t * masks[name] if name in masks else t for name, t in state.items()}


def differing(one: Tensors, other: Tensors) -> list[str]:
    assert list(one) == list(other)
    return [name for name in one if not one[name].equal(other[name])]
