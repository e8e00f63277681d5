from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.vocabulary.checks import check_declared

TEMPERATURE = "a number above 0; write 1 for the models' own probabilities"
WEIGHT = "a number in [0, 1]; it weighs the teacher's term against the task's loss"


@dataclass(frozen=True)
class Hinton:
    """(1 - weight) x loss + weight x T^2 x sum over samples of KL(p || q), T = temperature.

    p = softmax(teacher_outputs / T), q = softmax(outputs / T). Outputs are logits, (samples,
    classes) or (samples, positions, classes); for the latter the mean over a sample's positions
    counts, as in the loss of task=language_modelling. Labels that the task does not count, such as
    padding, add 0 to the sum.

    Source: Hinton et al. 2015, Distilling the Knowledge in a Neural Network (arXiv:1503.02531):
    a weighted average of both terms, T^2 because the soft term's gradients shrink with 1/T^2,
    and considerably less weight on the labels; they give no numbers for all cases. We differ:
    KL(p || q), where they have the cross-entropy -sum p ln q. It is less by the entropy of p, so
    it has the same gradients, and is 0 where both models agree.

    Half-precision outputs (autocast) are computed in float32. weight 0 gives `loss` itself.

    Raises:
        ValueError: temperature is not a finite number above 0, or weight not in [0, 1].
    """

    temperature: Annotated[float, TEMPERATURE] = 4.0
    weight: Annotated[float, WEIGHT] = 0.9

    def __post_init__(self) -> None:
        check_declared(self)

    def loss(
        self,
        outputs: Tensor,
        teacher_outputs: Tensor,
        loss: Tensor,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Returns the weighted sum of both losses.

        Raises:
            ValueError: the outputs of both models differ in shape, or have another number of
                dimensions.
        """
        _check_shapes(outputs, teacher_outputs)
        if self.weight == 0:
            return loss
        soft = self._divergence(outputs, teacher_outputs.detach(), counts)
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * soft

    def _divergence(
        self, outputs: Tensor, teacher_outputs: Tensor, counts: Tensor | None
    ) -> Tensor:
        divergence = F.kl_div(
            self._log_shares(outputs),
            self._log_shares(teacher_outputs),
            reduction="none",
            log_target=True,
        ).sum(dim=-1)
        if counts is not None:
            divergence = torch.where(counts, divergence, 0.0)
        return divergence.sum() if divergence.ndim == 1 else divergence.mean(dim=1).sum()

    def _log_shares(self, outputs: Tensor) -> Tensor:
        wide = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return F.log_softmax(wide / self.temperature, dim=-1)


def _check_shapes(outputs: Tensor, teacher_outputs: Tensor) -> None:
    if outputs.shape != teacher_outputs.shape:
        raise ValueError(
            f"distillation needs outputs of equal shapes, got {tuple(outputs.shape)} of the model "
            f"and {tuple(teacher_outputs.shape)} of the teacher; use a teacher of the same model "
            "and data set"
        )
    if outputs.ndim not in (2, 3):
        raise ValueError(
            "distillation needs outputs (samples, classes) or (samples, positions, classes), got "
            f"{tuple(outputs.shape)}; leave distillation out for this model"
        )
