"""Runs whole runs in this process, with every step open to tests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY
from silent import ME, Silent
from torch.func import functional_call
from torch.optim import Optimizer

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.experiment import Experiment
from harness.experiment.recorder import Recorder
from harness.experiment.train_hooks import TrainHooks
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.run_folder.records import Record
from harness.training.batches.batching import epoch_order
from harness.training.loop import Loop
from harness.vocabulary.tensors import Tensors, clone_tensors

# mlp on blobs: 8*32 + 32*32 + 32*4 weights, of which a quarter stays; 4 steps an epoch.
WEIGHTS, QUARTER = 1408, 352
SMALL = (*TINY, "prune_at=init", "schedule.final=0.25", "retraining.epochs=2")
STEPS = ("prune_at=during_training", "gradual.interval=2")


@dataclass(frozen=True)
class Step:
    """Holds copies of parameters, masks and optimizer after one step of a retraining.

    start: parameters before the step, after changes of masks. states: of the optimizer, by
    parameter, those of its shape.
    """

    level: int | str
    number: int
    start: Tensors
    weights: Tensors
    before: Tensors  # masks
    masks: Tensors
    states: dict[str, list[torch.Tensor]]

    @property
    def live(self) -> int:
        return sum(int(mask.sum()) for mask in self.masks.values())


@dataclass(frozen=True)
class Run:
    levels: runner.Prepared
    steps: list[Step]
    records: list[Record]

    def of(self, level: int | str) -> list[Step]:
        return [step for step in self.steps if step.level == level]


@cache
def experiment(*overrides: str) -> Experiment:
    return build(compose_config([*SMALL, *overrides]))


def optimized(
    experiment: Experiment, optimizer: Callable[..., Optimizer], **more: Any
) -> Experiment:
    """Returns an experiment that retrains with this optimizer."""
    return replace(
        experiment, retraining=replace(experiment.retraining, optimizer=optimizer, **more)
    )


def levels_of(folder: Path, experiment: Experiment) -> runner.Prepared:
    return runner.prepare(experiment, Ranks(), folder)


def run(folder: Path, experiment: Experiment, levels: runner.Prepared | None = None) -> Run:
    """Runs it to its end; folder: of dense training's cache."""
    levels, sink, steps = levels or levels_of(folder, experiment), Silent(), list[Step]()
    update = Loop._update

    def watching(loop: Loop) -> None:
        start, before, number = (
            parameters(levels),
            clone_tensors(levels.state.masks.masks),
            loop._number,
        )
        update(loop)
        if loop.context.level != 0:
            states = {name: shaped(loop, name) for name in start}
            now = parameters(levels), clone_tensors(levels.state.masks.masks)
            steps.append(Step(loop.context.level, number, start, now[0], before, now[1], states))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_update", watching)
        runner.run(Recorder(*levels, ME, sink))
    return Run(levels, steps, sink.records)


def parameters(levels: runner.Prepared) -> Tensors:
    return clone_tensors({name: p.detach() for name, p in levels.state.model.named_parameters()})


def shaped(loop: Loop, name: str) -> list[torch.Tensor]:
    parameter = loop.model.get_parameter(name)
    states = loop.update.optimizer.state.get(parameter, {}).values()
    return [s.clone() for s in states if torch.is_tensor(s) and s.shape == parameter.shape]


def before_steps(
    patch: pytest.MonkeyPatch, look: Callable[[TrainHooks, int, Optimizer], None]
) -> None:
    """Calls `look` when a step of a retraining begins, after changes of masks before it."""
    real = TrainHooks.before_step

    def looking(inside: TrainHooks, number: int, optimizer: Optimizer) -> None:
        real(inside, number, optimizer)
        look(inside, number, optimizer)

    patch.setattr(TrainHooks, "before_step", looking)


def gradients(levels: runner.Prepared, weights: Tensors, level: int | str, number: int) -> Tensors:
    """Returns gradients of the mean loss of a step's batch, by torch alone, in the first epoch."""
    batch = epoch_order(512, 0, level, 0).split(128)[number]
    inputs, labels = (
        levels.context.workload.splits.train.inputs,
        levels.context.workload.splits.train.labels,
    )
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    outputs = functional_call(levels.state.model, leaves, (inputs[batch],))
    loss = torch.nn.functional.cross_entropy(outputs, labels[batch])
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
