"""Defines penalties, and what penalties of |w| share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import torch
from torch import Tensor, nn

from harness.groups.units import Units
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors

EPOCHS = "a whole number in [1, 1000000]; for none leave the penalty out"


class Penalty(Protocol):
    """Adds a term to the gradients before each pruning, so that weights to prune get small.

    The term is added to the gradients, not to the loss: recorded losses stay the task's. The
    optimizer treats the term like any gradient; Adam scales it along with the rest.
    """

    needs_pending_masks: ClassVar[bool]  # True if it must know what will be pruned

    @property
    def epochs(self) -> int:
        """Returns the epochs of training before each pruning, at least 1."""

    def check(self, model: nn.Module, units: Units) -> None:
        """Checks the model before any training.

        units: what the structure prunes, without what is excluded.

        Raises:
            ValueError: the model has nothing to penalise.
        """

    def make_gradient_hook(
        self, model: nn.Module, units: Units, to_prune: Tensors
    ) -> Callable[[int], None]:
        """Returns a function that adds the penalty's gradient at a step (0-based).

        The function is called after gradients are averaged over ranks and unscaled, before they are
        clipped and masked. A parameter without a gradient is left alone. The term is equal on every
        rank, and 0 where the parameter is 0, so that pruned weights stay 0.

        units: what is left in this model of what the structure prunes; with compact=levels those
            of whole groups alone.
        to_prune: bool by parameter name, True where the coming pruning removes; {} unless
            needs_pending_masks.
        """


@dataclass(frozen=True)
class Lasso(ABC):
    """gradient += strength x sign(w), that of strength x |w|, and 0 at w = 0; at every step.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or strength not a finite number
            above 0.
    """

    epochs: Annotated[int, EPOCHS] = 1
    strength: Annotated[float, "a number above 0; e.g. 1e-4"] = 1e-4

    needs_pending_masks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_declared(self)

    @abstractmethod
    def penalised(self, model: nn.Module) -> list[nn.Parameter]:
        """Returns the parameters that are made small."""

    def make_gradient_hook(
        self, model: nn.Module, units: Units, to_prune: Tensors
    ) -> Callable[[int], None]:
        penalised = self.penalised(model)

        @torch.no_grad()
        def add(step: int) -> None:
            weights: list[Tensor] = []
            grads: list[Tensor] = []
            for weight in penalised:
                if weight.grad is not None:
                    weights.append(weight)
                    grads.append(weight.grad)
            if grads:
                torch._foreach_add_(grads, torch._foreach_sign(weights), alpha=self.strength)

        return add
