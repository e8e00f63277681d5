"""Trains a model by a recipe. Pruning enters through hooks only."""

from dataclasses import dataclass

from torch import nn

from harness.training.context import UNFINISHED, FitResult, Hooks, LoopState, TrainingContext
from harness.training.loop import Loop
from harness.training.recipe import Recipe
from harness.vocabulary.step_index import START, StepIndex


@dataclass(frozen=True)
class Trainer(Recipe):
    """Trains by a recipe with `fit`."""

    def fit(
        self,
        model: nn.Module,
        context: TrainingContext,
        hooks: Hooks,
        begin: StepIndex = START,
        stop: StepIndex | None = None,
        resumed: LoopState | None = None,
    ) -> FitResult:
        """Trains the model in place from `begin` to `stop`, by default the recipe's end.

        Args:
            model: Model to train.
            context: Data, task, ranks and seed.
            hooks: Functions that run inside the loop.
            begin: First step.
            stop: Step before which the training ends. None is the recipe's end.
            resumed: State that hooks.saver received in the same training, to resume from.

        Raises:
            NotFinite: At the end of the epoch in which loss or weights became NaN or infinite.
        """
        self.check_ranks(context.ranks)
        steps = self.steps_per_epoch(len(context.split))
        first = begin.normalized(steps)
        last = StepIndex(self.epochs) if stop is None else stop.normalized(steps)
        if first >= last:
            return UNFINISHED
        loop = Loop(self, model, context, hooks, first, resumed)
        if hooks.saver:
            hooks.saver.begin(loop.update.optimizer)
        while loop.at < last:
            loop.run_epoch(last)
            if hooks.epoch_end and loop.step == 0:
                hooks.epoch_end(loop.epoch, loop.curve)
            loop.save()
        return FitResult(loop.update.norm, loop.curve)
