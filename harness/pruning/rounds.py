"""One level's prunings: rounds of decision, agreement, masks and moved weights; then a control."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from harness.allocation.base import Facts
from harness.pruning.budget import Goal
from harness.pruning.masks import MaskStore
from harness.pruning.prunable import store_for, take_over
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.structure.base import Units
from harness.vocabulary.tensors import Tensors
from harness.vocabulary.undisturbed import duplicate


@dataclass(frozen=True)
class Rounds:
    """
    agree: rank 0's masks, on every rank. send: rank 0's values to every rank, in place.
    begin: called before each round; what it raises ends the level.
    """

    pruner: Pruner
    units: Units
    data: Calibration
    facts: Facts
    agree: Callable[[Tensors], Tensors] = lambda masks: masks
    send: Callable[[list[Tensor]], None] = lambda tensors: None
    begin: Callable[[], None] = lambda: None

    def run(self, model: nn.Module, store: MaskStore, goals: Iterable[Goal]) -> None:
        """Prunes model and store to the last goal, with new scores for each.

        A control takes part in no round: the method goes through all of them on a copy, and the
        control then has as many units of each weight as the method ended with.
        """
        if self.pruner.control == "none":
            for goal in goals:
                self._round(model, store, goal)
        else:
            store.shrink_to(self.agree(self.foreseen(model, store, goals)))
            store.apply_to(model)

    def foreseen(self, model: nn.Module, store: MaskStore, goals: Iterable[Goal]) -> Tensors:
        """The masks that `run` would come to; model and store stay as they are."""
        shadow, masks = duplicate(model), store_for(model, self.units)
        masks.shrink_to(store.masks)
        for goal in goals:
            self._round(shadow, masks, goal)
        if self.pruner.control == "none":
            return dict(masks.masks)
        return self.pruner.controlled(masks.masks, model, store, self.units)

    def _round(self, model: nn.Module, store: MaskStore, goal: Goal) -> None:
        self.begin()
        decision = self.pruner.decide(model, store, self.units, goal, self.data, self.facts)
        store.shrink_to(self.agree(decision.masks))
        moved = decision.moved(store.masks)
        self.send(list(moved.values()))
        take_over(model, moved)
        store.apply_to(model)
