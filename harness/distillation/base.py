"""Defines distillation."""

from typing import Protocol

from torch import Tensor


class Distillation(Protocol):
    """Adds a term of the dense model's outputs to the loss of retraining."""

    def loss(
        self,
        outputs: Tensor,
        teacher_outputs: Tensor,
        loss: Tensor,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Returns a differentiable training loss, summed over the samples (a scalar).

        Args:
            outputs: of the model that retrains.
            teacher_outputs: of the dense model on the same inputs; no gradient flows into them.
            loss: the task's loss of `outputs`, summed over the samples too.
            counts: bool, of the labels' shape: True for labels that count, others add 0; None for
                all.
        """
