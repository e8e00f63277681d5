"""Changes a model's weights at one step of a training."""

from typing import Any

import torch
from torch import Tensor, nn

from harness.training.context import Hooks
from harness.training.recipe import Recipe
from harness.training.updates.weight_average import WeightAverage


class Update:
    """Holds optimizer, scaler of gradients and average of weights, and takes steps with them.

    `norm` is that of the unpruned gradients, not clipped, at the last step that noted it.
    `take_step` is the optimizer's own `step`, or the scaler's with it.
    """

    def __init__(self, recipe: Recipe, model: nn.Module, hooks: Hooks, device: torch.device):
        self.recipe, self.model, self.hooks = recipe, model, hooks
        self.optimizer = recipe.make_optimizer(model)
        self.optimizer.zero_grad(set_to_none=True)  # gradients of the caller
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        scales = recipe.autocast == "float16"
        self.scaler = torch.amp.GradScaler(device.type) if scales else None
        self.take_step = self._scaled_step if self.scaler else self.optimizer.step
        self.average = WeightAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.norm: float | None = None

    def state(self) -> dict[str, Any]:
        """Returns everything that later updates depend on, beside the model."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "norm": self.norm,
            "average": self.average.state() if self.average else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Loads the result of `state`."""
        self.norm = state["norm"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load(state["average"])

    def scaled(self, loss: Tensor) -> Tensor:
        """Returns the loss whose gradients float16 can hold."""
        return self.scaler.scale(loss) if self.scaler else loss

    def prepare(self, factor: float, notes_norm: bool) -> bool:
        """Makes rates and gradients ready; returns True if a hook has taken the step itself.

        Args:
            factor: Of every group's learning rate.
            notes_norm: Whether `norm` is noted, which waits for the device.
        """
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        if self.scaler:
            self._drop_pruned()
            self.scaler.unscale_(self.optimizer)
        takes = self.hooks.takes_step
        taken = takes is not None and takes(self.optimizer)
        if self.hooks.after_backward:
            self.hooks.after_backward()
        if notes_norm:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            self.norm = float(nn.utils.get_total_norm(gradients))
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        return taken

    def finish(self) -> None:
        """Averages the new weights, and drops the gradients."""
        if self.average:
            self.average.update(self.hooks.masks() if self.hooks.masks else {})
        self.optimizer.zero_grad(set_to_none=True)

    def _scaled_step(self) -> None:
        assert self.scaler is not None
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _drop_pruned(self) -> None:
        """Zeroes gradients of pruned weights.

        Their overflow must not make GradScaler skip the step.
        """
        for name, mask in self.hooks.masks_in_force().items() if self.hooks.masks_in_force else ():
            gradient = self.model.get_parameter(name).grad
            if gradient is not None:
                gradient.masked_fill_(~mask, 0)
