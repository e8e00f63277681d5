from dataclasses import dataclass
from typing import ClassVar

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.gradient_statistics import at_least_float32, mean_squared_gradients
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Taylor(Saliency):
    """mean over samples of (w g)^2: squared first-order change of a sample's loss without w.

    g is the gradient of one sample's loss. The gradient's mean is near 0 on a trained model
    while the mean of its squares is not. This is w^2 times the diagonal of the empirical Fisher
    matrix; as an estimate of the second-order change of the loss that carries a factor 1/2, which
    changes no ranking. A structure pools these scores of single weights; `taylor_unit` squares
    the sum over a unit instead.

    Source: Molchanov et al. 2019 (arXiv:1906.10771). Their code squares the gradient of
    each mini-batch's mean loss, so that its scores depend on the batch size, averages over
    mini-batches, and keeps a moving average between prunings; we square per sample, and each
    pruning event starts anew.
    """

    any_parameter: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_squared_gradients(data)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {
            name: at_least_float32(weight).square() * statistics[name]
            for name, weight in weights.items()
        }
