"""Times the steps of a retraining in a whole run, and the duration of measurements.

Seconds are CPU seconds of one thread: on a shared machine, other jobs would take longer than a
step.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from torch import nn
from torch.optim import Optimizer

from benchmarks.silent import ME, Silent
from benchmarks.task import RANKS
from harness.experiment import runner
from harness.experiment.experiment import Experiment
from harness.experiment.recorder import Recorder
from harness.experiment.workload import DenseShaped, Workload
from harness.metrics.macs import Macs
from harness.pruning.density import Scope
from harness.training.context import FitResult, Hooks, LoopState, TrainingContext
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import START, StepIndex

# Kinds of steps: the optimizer's step; one that also accumulates dense gradients; a mask update; a
# pruning without the next step and without the measurements of its record; these measurements.
PLAIN, LOOK, UPDATE, PRUNING, MEASURING = "plain", "look", "update", "pruning", "measuring"
EDGE = "edge"  # an epoch ends after it, or a training begins with it


@dataclass(frozen=True)
class WatchedTrainer(Trainer):
    """Notes when each step begins, before what a hook does there."""

    starts: list[float] = field(default_factory=list)

    def fit(
        self,
        model: nn.Module,
        context: TrainingContext,
        hooks: Hooks,
        begin: StepIndex = START,
        stop: StepIndex | None = None,
        resumed: LoopState | None = None,
    ) -> FitResult:
        def before_step(number: int, optimizer: Optimizer) -> None:
            self.starts.append(time.process_time())
            if hooks.before_step:
                hooks.before_step(number, optimizer)

        return super().fit(
            model, context, replace(hooks, before_step=before_step), begin, stop, resumed
        )


@dataclass(frozen=True)
class WatchedSubject(Workload):
    """Notes how long each measurement for a record takes."""

    seconds: list[float] = field(default_factory=list)

    def measure(
        self, model: nn.Module, dense: DenseShaped, macs: Macs, scope: Scope, activations: int
    ) -> dict[str, object]:
        since = time.process_time()
        result = super().measure(model, dense, macs, scope, activations)
        self.seconds.append(time.process_time() - since)
        return result


class Watched:
    """Holds one run from its beginning to its end.

    dense: folder of the dense training, which the first such run trains if needed.
    """

    def __init__(self, experiment: Experiment, dense: Path):
        self.recipe = WatchedTrainer(**vars(experiment.retraining))
        context, state = runner.prepare(replace(experiment, retraining=self.recipe), RANKS, dense)
        self.subject = WatchedSubject(**vars(context.workload))
        self.levels = runner.Prepared(replace(context, workload=self.subject), state)

    def run(self) -> None:
        runner.run(Recorder(*self.levels, ME, Silent()))

    def seconds(self) -> dict[str, float]:
        """Returns the median step of each kind."""
        starts = self.recipe.starts
        times = [after - before for before, after in zip(starts, starts[1:], strict=False)]
        kinds = [self._kind(number, len(starts)) for number in range(len(times))]
        seconds = {
            kind: median(time for time, own in zip(times, kinds, strict=True) if own == kind)
            for kind in set(kinds) - {EDGE}
        }
        if PRUNING in seconds:
            # The first record is of the initial model, the last of the trained one.
            seconds[MEASURING] = median(self.subject.seconds[1:-1])
            seconds[PRUNING] -= seconds[MEASURING] + seconds[PLAIN]
        return seconds

    def _kind(self, number: int, steps: int) -> str:
        per_epoch = self.recipe.steps_per_epoch(len(self.subject.splits.train))
        mask_updates = self.levels.context.experiment.mask_updates
        if number == 0 or (number + 1) % per_epoch == 0:
            return EDGE
        if number in {turn.step for turn in self.levels.context.requested.prune_events}:
            return PRUNING
        if mask_updates and mask_updates.updates(number, steps):
            return UPDATE
        return LOOK if mask_updates and mask_updates.needs_dense_gradients(number, steps) else PLAIN
