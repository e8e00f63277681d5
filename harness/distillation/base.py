from typing import Protocol

from torch import Tensor


class Distillation(Protocol):
    """What the dense network's outputs add to the loss of retraining."""

    def loss(self, outputs: Tensor, teacher_outputs: Tensor, loss: Tensor) -> Tensor:
        """Differentiable training loss, summed over the samples (a scalar).

        teacher_outputs: the dense network's on the same inputs; no gradient flows into them.
        loss: the task's, of these outputs, summed over the samples too.
        """
        ...
