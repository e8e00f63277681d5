from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from harness.groups.units import Units
from harness.penalty.base import EPOCHS
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors, prunable_layers

INTERVAL = "a whole number >= 1; write 1 to grow at every step"


@dataclass(frozen=True)
class GrowingL2:
    """strength(t) / 2 x sum w^2 over the weights to prune: adds strength(t) x w to their gradients.

    strength(t) = min(max_strength, step_size x (t // interval + 1)) at step t: step_size at the
    first step, and step_size more every `interval` steps. t starts at 0 before each pruning.

    >>> growing = GrowingL2(step_size=0.5, interval=2, max_strength=1.2)
    >>> [growing.strength(step) for step in range(6)]
    [0.5, 0.5, 1.0, 1.0, 1.2, 1.2]

    Source: Wang et al. 2021, Neural Pruning via Growing Regularization (arXiv:2012.09243), GReg-1;
    the authors' code raises the strength before it applies it, by 1e-4 up to 1, as this does. We
    differ: the run's saliency, structure and allocation choose the weights to prune, where theirs
    is the L1 norm in given layers. Biases and norm parameters that are pruned with a unit are
    penalised too. Our strength never exceeds max_strength, theirs may by one step. We neither stop
    the growth once the mean kept weight is 1000 times the mean one to prune, nor add steps at a
    constant strength, except those after max_strength is reached.

    epochs: strength needs interval x max_strength / step_size steps to reach max_strength, 100,000
    by default; with fewer steps, raise step_size.

    Raises:
        ValueError: epochs or interval is not a whole number of at least 1, or step_size or
            max_strength not a finite number above 0.
    """

    epochs: Annotated[int, EPOCHS] = 1
    step_size: Annotated[float, "a number above 0; e.g. 1e-4"] = 1e-4
    interval: Annotated[int, INTERVAL] = 10
    max_strength: Annotated[float, "a number above 0; e.g. 1.0"] = 1.0

    needs_pending_masks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def strength(self, step: int) -> float:
        return min(self.max_strength, self.step_size * (step // self.interval + 1))

    def check(self, model: nn.Module, units: Units) -> None:
        prunable_layers(model)

    def make_gradient_hook(
        self, model: nn.Module, units: Units, to_prune: Tensors
    ) -> Callable[[int], None]:
        """Returns the function of Penalty, which adds nothing where nothing will be pruned."""
        parameters = {n: model.get_parameter(n) for n, mask in to_prune.items() if mask.any()}
        factors = {name: to_prune[name].to(parameter) for name, parameter in parameters.items()}

        @torch.no_grad()
        def add(step: int) -> None:
            weights: list[Tensor] = []
            grads: list[Tensor] = []
            where: list[Tensor] = []
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    weights.append(parameter)
                    grads.append(parameter.grad)
                    where.append(factors[name])
            if grads:
                torch._foreach_addcmul_(grads, weights, where, value=self.strength(step))

        return add
