from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from harness.vocabulary.checks import check, check_fields
from harness.vocabulary.tensors import Tensors


class Penalty(Protocol):
    """What a training before each pruning adds to the gradients, so that what goes gets small.

    Added to the gradients, not to the loss: recorded losses stay the task's. What the optimizer
    does to gradients it does to this part too; Adam scales it along with the rest.
    """

    needs_pending_masks: ClassVar[bool]  # whether it needs to know what will be pruned

    @property
    def epochs(self) -> int:
        """Of training before each pruning, at least 1."""

    def check(self, model: nn.Module) -> None:
        """Before any training.

        Raises:
            ValueError: the model has nothing to penalise.
        """

    def make_gradient_hook(self, model: nn.Module, to_prune: Tensors) -> Callable[[int], None]:
        """A function that adds the penalty's gradient at a step (0-based, of this training).

        It is called when gradients are averaged over ranks and unscaled, before they are clipped
        and masked; a parameter without a gradient is left alone. It adds the same on every rank,
        and 0 where the parameter is 0: what is pruned stays so.

        going: bool by parameter name, True where the coming pruning removes; {} unless
        needs_pending_masks.
        """


def check_epochs(epochs: int) -> None:
    """
    Raises:
        ValueError: epochs is not a whole number of at least 1.
    """
    way_out = "; for none leave the penalty out"
    check("epochs", epochs, "a whole number of at least 1", way_out)


@dataclass(frozen=True)
class Lasso(ABC):
    """Adds strength x sign(w), the gradient of strength x |w|, and 0 at w = 0; at every step.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or strength not a finite number
            above 0.
    """

    epochs: int = 1
    strength: float = 1e-4

    needs_pending_masks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_epochs(self.epochs)
        check_fields(self, "a finite number above 0", "strength", way_out="; e.g. 1e-4")

    @abstractmethod
    def penalised(self, model: nn.Module) -> list[nn.Parameter]:
        """Names what is made small."""

    def make_gradient_hook(self, model: nn.Module, to_prune: Tensors) -> Callable[[int], None]:
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
