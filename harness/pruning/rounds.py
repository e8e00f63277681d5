"""Runs the prunings of one level: proposal, agreement, masks and new weights; then a control."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.allocation.base import ModelInfo
from harness.groups.units import Units
from harness.pruning.masks import MaskStore
from harness.pruning.prunable import copy_into, make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.pruning_order import PruningOrder, PruningProgress, units_in
from harness.pruning.reader import Calibration, Reader
from harness.pruning.removal.living import follow_masks
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import Tensors, eval_mode
from harness.vocabulary.undisturbed import deepcopy_model


def _do_nothing(number: int) -> None:
    pass


@dataclass(frozen=True)
class Rounds:
    """Runs the steps of one level's pruning.

    Args:
        pruner: computes masks.
        units: the units that are pruned.
        data: calibration data.
        model_info: what the allocation may read.
        broadcast_masks: returns rank 0's masks on every rank.
        broadcast: copies rank 0's values to every rank, in place.
        before_step: called before each step with its number; an exception ends the level.
        after_step: called after each step with its number.
        order: the order of parts; None prunes the model as a whole.
    """

    pruner: Pruner
    units: Units
    data: Calibration
    model_info: ModelInfo
    broadcast_masks: Callable[[Tensors], Tensors] = lambda masks: masks
    broadcast: Callable[[list[Tensor]], None] = lambda tensors: None
    before_step: Callable[[int], None] = _do_nothing
    after_step: Callable[[int], None] = _do_nothing
    order: PruningOrder | None = None

    def run(self, model: nn.Module, store: MaskStore, progress: PruningProgress) -> None:
        """Prunes model and store by the remaining steps, with new scores for each.

        A control takes part in no step. The method goes through all steps on a copy of the model;
        the control then keeps as many units of each weight as the method.
        """
        if self.pruner.control == "none":
            self._run_steps(model, store, progress)
        else:
            store.shrink_to(self.broadcast_masks(self.preview_masks(model, store, progress)))
            store.apply_to(model)

    def preview_masks(
        self, model: nn.Module, store: MaskStore, progress: PruningProgress
    ) -> Tensors:
        """Returns the masks that `run` would end with; model, store and progress stay unchanged."""
        copy, masks = deepcopy_model(model), make_mask_store(model, self.units)
        follow_masks(copy, self.units, masks)
        masks.shrink_to(store.masks)
        replace(self, after_step=_do_nothing)._run_steps(copy, masks, replace(progress))
        if self.pruner.control == "none":
            return dict(masks.masks)
        return self.pruner.apply_control(masks.masks, model, store, self.units)

    def _run_steps(self, model: nn.Module, store: MaskStore, progress: PruningProgress) -> None:
        inputs = _PartInputs(self.order, model, self.data) if self.order else None
        while progress.done < len(progress.steps):
            step = progress.steps[progress.done]
            self.before_step(progress.done)
            data = inputs.to(step.part) if inputs else self.data
            units = units_in(step.part, self.units)
            proposal = self.pruner.propose(
                model, store, units, step.requested, data, self.model_info
            )
            store.shrink_to(self.broadcast_masks(proposal.masks))
            updated = proposal.updated_weights(store.masks)
            self.broadcast(list(updated.values()))
            copy_into(model, updated)
            store.apply_to(model)
            progress.done += 1
            self.after_step(progress.done)


class _PartInputs:
    """Computes the inputs of the parts of a model, each behind the parts before."""

    def __init__(self, order: PruningOrder, model: nn.Module, data: Calibration):
        self._order, self._model, self._data = order, model, data
        self._parts = list(order.parts(model))
        self._position, self._inputs = len(self._parts), list[Inputs]()

    def to(self, part: str) -> Calibration:
        """Advances to this part, or starts again from the first part if the part lies behind."""
        requested = self._parts.index(part)
        with eval_mode(self._model), torch.no_grad():
            read = Reader(self._order, self._model, self._data.compare)
            if self._position > requested:
                model_inputs = [inputs for inputs, _ in self._data.batches]
                self._position, self._inputs = 0, read("first_inputs", self._model, model_inputs)
            while self._position < requested:
                previous = self._parts[self._position]
                self._inputs = read("next_inputs", self._model, previous, self._inputs)
                self._position += 1
        labels = [labels for _, labels in self._data.batches]
        batches = list(zip(self._inputs, labels, strict=True))
        return replace(self._data, batches=batches, loss=None, part=part)
