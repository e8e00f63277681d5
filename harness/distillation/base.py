from typing import Protocol

from torch import Tensor


class Distillation(Protocol):
    """What the dense network's outputs add to the loss of retraining."""

    def loss(
        self,
        outputs: Tensor,
        teacher_outputs: Tensor,
        loss: Tensor,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Differentiable training loss, summed over the samples (a scalar).

        teacher_outputs: the dense network's on the same inputs; no gradient flows into them.
        loss: the task's, of these outputs, summed over the samples too.
        counts: bool, of the labels' shape: which of them count, others add 0; None: all.
        """
