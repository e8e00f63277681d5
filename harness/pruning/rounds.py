"""One level's prunings: steps of decision, agreement, masks and moved weights; then a control."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.allocation.base import ModelInfo
from harness.pruning.masks import MaskStore
from harness.pruning.prunable import copy_into, make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.pruning_order import Event, PruningOrder, units_in
from harness.pruning.reader import Calibration, Reader
from harness.structure.base import Units
from harness.vocabulary.tensors import Tensors, evaluating
from harness.vocabulary.undisturbed import duplicate


def _nothing(number: int) -> None:
    pass


@dataclass(frozen=True)
class Rounds:
    """
    agree: rank 0's masks, on every rank. send: rank 0's values to every rank, in place.
    begin: called before each step with its number; what it raises ends the level. end: after it.
    order: of the parts that are pruned one after the other; None: the network as a whole.
    """

    pruner: Pruner
    units: Units
    data: Calibration
    model_info: ModelInfo
    agree: Callable[[Tensors], Tensors] = lambda masks: masks
    send: Callable[[list[Tensor]], None] = lambda tensors: None
    begin: Callable[[int], None] = _nothing
    end: Callable[[int], None] = _nothing
    order: PruningOrder | None = None

    def run(self, model: nn.Module, store: MaskStore, event: Event) -> None:
        """Prunes model and store by the steps that are left, with new scores for each.

        A control takes part in no step: the method goes through all of them on a copy, and the
        control then has as many units of each weight as the method ended with.
        """
        if self.pruner.control == "none":
            self._go(model, store, event)
        else:
            store.shrink_to(self.agree(self.foreseen(model, store, event)))
            store.apply_to(model)

    def foreseen(self, model: nn.Module, store: MaskStore, event: Event) -> Tensors:
        """The masks that `run` would come to; model, store and event stay as they are."""
        shadow, masks = duplicate(model), make_mask_store(model, self.units)
        masks.shrink_to(store.masks)
        replace(self, end=_nothing)._go(shadow, masks, replace(event))
        if self.pruner.control == "none":
            return dict(masks.masks)
        return self.pruner.controlled(masks.masks, model, store, self.units)

    def _go(self, model: nn.Module, store: MaskStore, event: Event) -> None:
        inputs = _Walk(self.order, model, self.data) if self.order else None
        while event.done < len(event.steps):
            step = event.steps[event.done]
            self.begin(event.done)
            data = inputs.to(step.part) if inputs else self.data
            units = units_in(step.part, self.units)
            proposal = self.pruner.propose(model, store, units, step.goal, data, self.model_info)
            store.shrink_to(self.agree(proposal.masks))
            updated = proposal.updated_weights(store.masks)
            self.send(list(updated.values()))
            copy_into(model, updated)
            store.apply_to(model)
            event.done += 1
            self.end(event.done)


class _Walk:
    """What the parts of a network are given, one after the other, each behind those before it."""

    def __init__(self, order: PruningOrder, model: nn.Module, data: Calibration):
        self._order, self._model, self._data = order, model, data
        self._parts = list(order.parts(model))
        self._at, self._inputs = len(self._parts), list[Tensor]()

    def to(self, part: str) -> Calibration:
        """Goes on to this part, or begins anew if it lies behind."""
        goal = self._parts.index(part)
        with evaluating(self._model), torch.no_grad():
            read = Reader(self._order, self._model, self._data.compare)
            if self._at > goal:
                given = [inputs for inputs, _ in self._data.batches]
                self._at, self._inputs = 0, read("first_inputs", self._model, given)
            while self._at < goal:
                passed = self._parts[self._at]
                self._inputs = read("next_inputs", self._model, passed, self._inputs)
                self._at += 1
        labels = [labels for _, labels in self._data.batches]
        batches = list(zip(self._inputs, labels, strict=True))
        return replace(self._data, batches=batches, loss=None, part=part)
