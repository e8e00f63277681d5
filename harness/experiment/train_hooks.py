"""Connects the training loop to masks: prune events, mask updates, penalties and costs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from harness.experiment.context import RunContext
from harness.experiment.state import RunState
from harness.mask_updates.base import MaskUpdater
from harness.run_folder.records import Trained
from harness.training.context import UNFINISHED, FitResult, Hooks, OnEpoch, Saver
from harness.training.cost_meter import CostMeter, trained_fields
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors, attribute_tensors

StepAction = Callable[["TrainHooks", Optimizer], None]
# inputs, outputs, labels, task's loss -> loss
DistillationLoss = Callable[[Inputs, Tensor, Tensor, Tensor], Tensor]


class TrainHooks:
    """Holds the callbacks of one training of a run.

    Args:
        context: the run's constants.
        run: the run's state.
        level: the level of the training.
        meter: counts the training's cost.
        steps: the number of steps of this training.
        steps_per_epoch: the number of steps of one epoch.
        mask_updater: updates masks at steps of its own, or None.
        events: prunings by the number of the step before which they happen.
        gradient_hook: adds a penalty's gradients, or None.
        distillation_loss: the loss of a student, or None.
    """

    def __init__(
        self,
        context: RunContext,
        run: RunState,
        level: int,
        meter: CostMeter,
        steps: int,
        steps_per_epoch: int,
        mask_updater: MaskUpdater | None = None,
        events: Mapping[int, StepAction] | None = None,
        gradient_hook: Callable[[int], None] | None = None,
        distillation_loss: DistillationLoss | None = None,
    ):
        self.context, self.run, self.level, self.meter = context, run, level, meter
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.mask_updater, self.events = mask_updater, events or {}
        self.gradient_hook, self.distillation_loss = gradient_hook, distillation_loss
        self.mask_gradients = run.masks.gradient_masker(run.model)
        self.step, self.needs_dense_gradients, self.recorded = 0, False, False
        self.statistics: Tensors = {}

    def hooks(self, epoch_end: OnEpoch, saver: Saver | None) -> Hooks:
        acts = self.mask_updater or self.events or self.gradient_hook
        return Hooks(
            before_step=self.before_step if acts else None,
            loss_term=self.distillation_loss,
            takes_step=self.takes_step if self.mask_updater else None,
            after_backward=self.after_backward,
            epoch_end=epoch_end,
            masks_in_force=self.live,
            masks=lambda: self.run.masks.masks,
            per_weight_state=self.kept,
            saver=saver,
        )

    def state(self) -> dict[str, Any]:
        """Returns what a resumed training needs of the hooks, beside the loop's own state."""
        return {
            "meter": self.meter.state_dict(),
            "statistics": self.statistics,
            "recorded": self.recorded,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.meter.load_state_dict(state["meter"])
        device = self.context.ranks.device
        self.statistics = {name: value.to(device) for name, value in state["statistics"].items()}
        self.recorded = state["recorded"]

    def trained(self, step: int, ended: FitResult = UNFINISHED) -> Trained:
        """Returns what was trained since the record before, up to step `number`."""
        self.meter.count_until(step)
        state = "kept" if self.recorded else "reset"
        summary = trained_fields(self.meter.pop(), self.steps_per_epoch, state, ended)
        self.recorded = self.recorded or summary.steps > 0
        return summary

    def forget(self, optimizer: Optimizer) -> None:
        """Clears the optimizer's state."""
        optimizer.state.clear()
        self.recorded = False

    def live(self) -> Tensors:
        """Returns the masks of gradients that this step needs; {} if it needs dense gradients."""
        return {} if self.needs_dense_gradients else self.run.masks.masks

    def kept(self) -> Tensors:
        """Returns the tensors beside the model that decide later masks and gradients.

        These are masks, statistics, and all tensors that a penalty or the mask updates hold.
        """
        run = self.run
        tensors_by_name = {f"mask of {name}": mask for name, mask in run.masks.masks.items()}
        for kind, tensors in (
            ("statistics", self.statistics),
            ("mask to come", run.pending_masks),
            ("value to return", run.unmasked_params),
        ):
            tensors_by_name |= {f"{kind} of {name}": tensor for name, tensor in tensors.items()}
        for part in (self.mask_updater, self.context.experiment.penalty, self.gradient_hook):
            if part is not None:
                tensors_by_name |= attribute_tensors(part)
        return tensors_by_name

    def before_step(self, step: int, optimizer: Optimizer) -> None:
        self.step = step
        if step in self.events:
            self.meter.count_until(step)
            self.events[step](self, optimizer)
        self.needs_dense_gradients = (
            self.mask_updater is not None
            and self.mask_updater.needs_dense_gradients(step, self.steps)
        )

    def takes_step(self, optimizer: Optimizer) -> bool:
        mask_updater = self.mask_updater
        assert mask_updater is not None
        if self.needs_dense_gradients:
            self.meter.count_dense_gradients(self.step)
            self.statistics = mask_updater.accumulate(self.statistics, self._gradients())
        if not mask_updater.updates(self.step, self.steps):
            return False
        self.meter.count_until(self.step + 1)
        self._update_masks(mask_updater, optimizer)
        return True

    def after_backward(self) -> None:
        if self.gradient_hook:
            self.gradient_hook(self.step)
        self.mask_gradients()

    def _update_masks(self, mask_updater: MaskUpdater, optimizer: Optimizer) -> None:
        context, run = self.context, self.run
        context.ranks.check_equal(run.masks.masks, "masks in force")
        weights = {name: run.model.get_parameter(name).detach() for name in context.units}
        masks = {name: run.masks.masks[name] for name in context.units}
        # The word decides the numbers, so it stays as it was.
        seed = derive(context.experiment.seed, "dynamics", self.level)
        masks_after = mask_updater.update_masks(
            weights, masks, self.statistics, self.step, self.steps, seed
        )
        run.masks.replace(context.ranks.broadcast_masks(masks_after))
        run.masks.apply_to(run.model, optimizer)
        self.statistics = {}

    def _gradients(self) -> Tensors:
        weights = {name: self.run.model.get_parameter(name) for name in self.context.units}
        return {n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in weights.items()}
