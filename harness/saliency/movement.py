from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.gradient_statistics import check_finite, mean_gradients, zero_sums
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors, prunable_weights
from harness.vocabulary.undisturbed import deepcopy_model


@dataclass(frozen=True)
class Movement(Saliency):
    """sum over steps of -lr x gradient x weight: weights that training moves away from 0 stay.

    The highest stay, not the highest absolute values: a weight that shrinks scores below 0. The
    weights' way is that of `steps` steps of gradient descent of size `lr`, each along the mean
    gradient over all calibration samples of all ranks, on a copy of the model in eval mode.
    Prunable weights move, biases and norms do not; a weight that is exactly 0 is pruned and
    stays so.

    Source: Sanh et al. 2020, Movement Pruning (arXiv:2005.07683), where dL/dS = dL/dW' x W is
    passed straight through the top-k mask. They train the scores beside the weights during all of
    fine-tuning, with the top-k mask in the forward pass, so that pruned weights may return, an
    optimizer and mini-batches. Here the scores come before pruning, without a mask but that of
    earlier events, so that ranks and batches change nothing.

    Raises:
        ValueError: steps is not a whole number of at least 1, or lr not a finite number above 0.
    """

    steps: Annotated[int, "a whole number in [1, 1000000]"] = 10
    lr: Annotated[float, "a number above 0; e.g. 0.1"] = 0.1

    signed: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns the scores themselves.

        Raises:
            ValueError: there are no calibration samples on any rank (by `mean`), or a gradient
                is not finite, at first or because the steps diverge.
        """
        moving = deepcopy_model(data.module)
        weights = prunable_weights(moving)
        data = replace(data, module=moving, batches=list(data.batches), names=tuple(weights))
        alive = {name: weight != 0 for name, weight in weights.items()}
        scores = zero_sums(weights)
        for step in range(self.steps):
            gradients = self._gradients(step, data)
            for name, weight in weights.items():
                move = gradients[name] * alive[name] * -self.lr
                scores[name] += move * weight
                weight += move
        return check_finite(scores, "movement")

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: statistics[name] for name in weights}

    def _gradients(self, step: int, data: CalibrationData) -> Tensors:
        try:
            return mean_gradients(data)
        except ValueError as error:
            if not step:
                raise
            raise ValueError(
                f"{error}; this is after {step} steps of lr={self.lr}: lower lr"
            ) from error
