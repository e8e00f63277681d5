"""Runs one training step by step. Its whole state can be saved and resumed."""

from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.base import for_epoch
from harness.distributed.ddp import no_sync
from harness.distributed.gradient_exchange import GradientExchange
from harness.model_state.whole_state import load_into, whole_state
from harness.training.batches.batch_changes import BatchChanges, ChangedBatch
from harness.training.batches.batching import (
    MicroBatch,
    batch_sizes,
    epoch_order,
    micro_batches,
    slice_steps,
)  # fmt: skip
from harness.training.context import Hooks, LoopState, TrainingContext, TrainingCurve
from harness.training.epoch_end import finite_loss, sync_replicas, validate, validation_measure
from harness.training.rank_state import load_rank_state, rank_state
from harness.training.recipe import Recipe
from harness.training.updates.update import Update
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.seeds import derive
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import Batch


class Loop:
    """Holds replica, update and position of one training.

    `epoch` counts whole epochs from the recipe's beginning, `step` counts steps of the next one.
    `total` is the loss of this rank's samples in the current epoch.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        context: TrainingContext,
        hooks: Hooks,
        begin: StepIndex,
        resumed: LoopState | None,
    ):
        self.recipe, self.model, self.context, self.hooks = recipe, model, context, hooks
        if resumed:
            load_into(model, resumed["model"])
        self.exchange = GradientExchange(
            context.ranks.options.gradient_exchange == "sparse", context.gradient_dtype
        )
        self.replica = context.ranks.wrap(
            model, context.first_loss, self.exchange, hooks.masks_in_force
        )
        self.changes = BatchChanges(recipe, context)
        self.forward = recipe.forward_of(self.replica)
        device = context.ranks.device
        self.update = Update(recipe, model, hooks, device)
        self.steps = recipe.steps_per_epoch(len(context.split))
        self.first = begin.steps(self.steps)
        self.epoch, self.step = begin
        self.own: dict[str, Any] | None = None  # of this rank, until the epoch resumes
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.sizes: list[float] = []  # divisor of each batch of the current epoch
        self.curve = TrainingCurve()
        if resumed:
            self._load_state(resumed)

    def state(self) -> LoopState:
        """Returns everything that later steps depend on. Every rank must call it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "model": whole_state(self.model),
            **self.update.state(),
            "curve": asdict(self.curve),
            # Differs between ranks inside an epoch. The next epoch begins equal on all ranks.
            "own": self.context.ranks.all_gather_object(
                rank_state(self.model, self.total, self.update.average)
            )
            if self.step
            else None,
        }

    @property
    def at(self) -> StepIndex:
        return StepIndex(self.epoch, self.step)

    def run_epoch(self, stop: StepIndex) -> None:
        """Runs the rest of the epoch, up to `stop` at most.

        Raises:
            NotFinite: At its end, if loss or weights became NaN or infinite.
            RanksDisagree: At its end, if the replicas differ.
        """
        ranks = self.context.ranks
        steps = stop.step if self.epoch == stop.epoch else self.steps
        plan = self._micro_batches(steps)
        self._begin_streams()
        self.replica.train()
        split = for_epoch(
            self.context.split,
            derive(self.context.seed, "transforms", self.context.level, self.epoch),
        )
        batches = split.batches(micro_batch.read for micro_batch in plan)
        begun = False
        for micro_batch, batch in zip(plan, batches, strict=True):
            if not begun and self.hooks.before_step:
                self.hooks.before_step(self._number, self.update.optimizer)
            self.total += self._backward(micro_batch, batch)
            begun = not micro_batch.last
            if micro_batch.last:
                self._update()
                ranks.heartbeat()
                self.step += 1
                self._validate_if_due()
                self._save_if_due(steps)
        loss = finite_loss(self.model, self.total, self.context, self.epoch)
        if self.step < self.steps:
            return
        ends = self.epoch + 1 == self.recipe.epochs
        sync_replicas(self.model, self.context, self.hooks, self.epoch, self.update.average, ends)
        validation = validation_measure(self.model, self.context, self.update.average)
        # This training may have begun inside the epoch.
        counted = sum(self.sizes[max(0, self.first - self.epoch * self.steps) :])
        self.curve = self.curve.extended(loss / (counted or 1), validation)
        self.epoch, self.step = self.epoch + 1, 0
        self.total.zero_()

    @property
    def _number(self) -> int:
        """Returns the number of the next step, counted from 0 at this training's first."""
        return self.at.steps(self.steps) - self.first

    def _micro_batches(self, steps: int) -> list[MicroBatch]:
        """Returns the micro-batches of this epoch's steps from the next one up to `steps`."""
        context, recipe = self.context, self.recipe
        order = epoch_order(len(context.split), context.seed, context.level, self.epoch)
        self.sizes = batch_sizes(order, recipe.batch_size, context.sample_weights)
        order = order.to(context.ranks.device)
        batches = micro_batches(
            order, recipe.batch_size, context.ranks, recipe.accumulate, self.sizes,
            mixed=recipe.mixing is not None,
        )  # fmt: skip
        return slice_steps(self.step, steps, list(batches))

    def _validate_if_due(self) -> None:
        every, step = self.recipe.validate_every, self.at.steps(self.steps)
        if every and step % every == 0:
            average = self.update.average
            self.curve = validate(self.model, self.context, average, self.curve, step)

    def save(self) -> None:
        if self.hooks.saver:
            self.hooks.saver.save(self.epoch, self.step, self.state)

    def _save_if_due(self, steps: int) -> None:
        # Not after the last step: the epoch's end is saved in any case.
        saver = self.hooks.saver
        if saver and self.step < steps and saver.is_due(self.step):
            self.save()

    def _load_state(self, state: LoopState) -> None:
        self.epoch, self.step = state["epoch"], state["step"]
        self.curve = TrainingCurve(**state["curve"])
        self.own = state["own"] and state["own"][self.context.ranks.rank]
        self.update.load(state)

    def _begin_streams(self) -> None:
        # Dropout alone differs between ranks.
        context = self.context
        own = (context.seed, "dropout", context.level, self.epoch, context.ranks.rank)
        torch.manual_seed(derive(*own))
        if self.own is not None:
            load_rank_state(self.own, self.model, self.total, self.update.average)
            self.own = None

    def _backward(self, micro_batch: MicroBatch, batch: Batch) -> Tensor:
        changed = self.changes.of(micro_batch, batch, self.epoch)
        with nullcontext() if micro_batch.last else no_sync(self.replica):
            with self.recipe.autocast_on(self.context.ranks.device):
                loss = self._loss(changed)
                scaled = loss * micro_batch.scale
            if micro_batch.last:
                # Other ranks may wait in it.
                self.context.ranks.heartbeat(before="mean of gradients")
            self.update.scaled(scaled).backward()
        # A sample that does not count contributes only if it is not finite.
        return loss.detach() if micro_batch.scale else loss.detach() * 0

    def _loss(self, batch: ChangedBatch) -> Tensor:
        outputs = call_model(self.forward, batch.inputs)
        loss = batch.loss(self.context.task, outputs)
        term = self.hooks.loss_term
        return term(batch.inputs, outputs, batch.labels, loss) if term else loss

    def _update(self) -> None:
        step = self.at.steps(self.steps)
        rate = self.recipe.learning_rate.factor(step, self.steps, self.recipe.epochs)
        # The norm once an epoch, because reading a number synchronizes the device.
        if not self.update.prepare(rate, notes_norm=self.step + 1 == self.steps):
            self.update.take_step()
        self.update.finish()
