"""Trains a network by a recipe; of pruning it knows only the hooks that it is given."""

from dataclasses import dataclass

from torch import nn

from harness.training.context import ONGOING, Fit, Hooks, LoopState, Setting
from harness.training.loop import Loop
from harness.training.recipe import Recipe
from harness.vocabulary.step_index import START, Moment


@dataclass(frozen=True)
class Trainer(Recipe):
    """A recipe that is carried out by `fit`."""

    def fit(
        self,
        model: nn.Module,
        setting: Setting,
        hooks: Hooks,
        begin: Moment = START,
        stop: Moment | None = None,
        resumed: LoopState | None = None,
    ) -> Fit:
        """Trains the model in place from `begin` to `stop`, by default the recipe's end.

        resumed: a state that hooks.saver was given in the same training; it goes on from there.

        Raises:
            NotFinite: at the end of the epoch in which loss or weights became NaN or infinite.
        """
        self.check_ranks(setting.ranks)
        steps = self.steps_per_epoch(len(setting.split))
        first = begin.settled(steps)
        last = Moment(self.epochs) if stop is None else stop.settled(steps)
        if first >= last:
            return ONGOING
        loop = Loop(self, model, setting, hooks, first, resumed)
        if hooks.saver:
            hooks.saver.begin(loop.optimizer)
        while loop.at < last:
            loop.run_epoch(last)
            if hooks.epoch_end and loop.step == 0:
                hooks.epoch_end(loop.epoch, loop.curve)
            loop.save()
        return Fit(loop.norm, loop.curve)
