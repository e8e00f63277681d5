"""The prunings of a run: each level's rounds, on ranks that are alike, and what they let go."""

from typing import TYPE_CHECKING

import torch

from harness.experiment.layer_curves import with_curves
from harness.pruning.budget import Goal, round_goals
from harness.pruning.prunable import take_over
from harness.pruning.rounds import Rounds
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import copied

if TYPE_CHECKING:
    from harness.experiment.runner import Levels


class Prunings:
    """What changes the masks of `levels` between its trainings."""

    def __init__(self, levels: "Levels"):
        self.levels, self.what = levels, levels.what

    def shrink(self, level: int, share: float) -> None:
        levels, store = self.levels, self.levels.store
        if self.what.may_grow:
            names = store.masks.keys() - levels.units.keys()
            levels.along = copied({name: levels.network.get_parameter(name) for name in names})
        if levels.chosen:
            store.shrink_to(levels.chosen)
            store.apply_to(levels.network)
        else:
            self.ready(level).run(levels.network, store, self.goals(share))
        levels.chosen, levels.share = {}, share

    def release(self, level: int) -> None:
        """Where units may recover until the last level, all are free after any other one."""
        if self.what.releases and level < len(self.levels.shares):
            self.let_go()

    def let_go(self) -> None:
        """All weights return, from 0, and their units with the biases and norms that they had:
        without these a unit would pass no gradient back through its ReLU, and stay dead."""
        levels, masks = self.levels, self.levels.store.masks
        now = {name: levels.network.get_parameter(name).detach() for name in levels.along}
        before = {name: now[name].where(masks[name], old) for name, old in levels.along.items()}
        take_over(levels.network, before)
        levels.store.replace({name: torch.ones_like(mask) for name, mask in masks.items()})
        levels.share = 1.0

    def ready(self, level: int) -> Rounds:
        """What prunes this level, on ranks that are alike."""
        levels, ranks, what = self.levels, self.levels.ranks, self.what
        ranks.check_equal(levels.store.masks, "masks in force")
        ranks.check_replicas(levels.network, "the network before a pruning")
        # For a part that draws from the global streams: alike on all ranks and after a restart.
        torch.manual_seed(derive(what.seed, "prune", level))
        levels.facts = with_curves(levels)
        data = levels.subject.calibration(what.calibration, what.training.batch_size)
        stop = levels.journal.stop_if_asked if levels.journal else lambda: None
        pruner, units = what.pruner, levels.units
        return Rounds(pruner, units, data, levels.facts, ranks.agree, ranks.send, stop)

    def goals(self, share: float) -> list[Goal]:
        """Returns the goals of the rounds from what is alive to this share."""
        levels, what, account = self.levels, self.what, self.levels.targets.account
        held = what.pruner.alive(
            levels.network, levels.store, levels.units, levels.facts, account.counts
        )
        end = share * account.removable
        return round_goals(sum(held.values()), end, account.counts, what.rounds)
