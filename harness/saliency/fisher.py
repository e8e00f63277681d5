from dataclasses import dataclass
from typing import ClassVar

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.gradient_statistics import at_least_float32, mean_squared_gradients
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Fisher(Saliency):
    """w^2 F / 2, F the mean over samples of (gradient of the sample's own loss)^2.

    The second-order term of the loss change if the weight is pruned, as in Optimal Brain Damage
    (LeCun et al. 1989), with the diagonal of the empirical Fisher matrix, of the labels as they
    are, in place of the Hessian's: not below 0, and near it where the model fits its data. The
    WoodFisher authors' diagonal variant (Singh & Alistarh 2020, arXiv:2004.14340) has w^2 F with
    another constant, which changes no ranking. The square is taken per sample: the square of a
    batch's mean gradient would be another quantity, about 1 / batch size of it.

    A structure pools these scores of single entries. Group Fisher pruning (Liu et al. 2021,
    arXiv:2108.00708) has one mask per unit, whose gradient is a sum over layers before the square:
    `taylor_group`.
    """

    any_parameter: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_squared_gradients(data)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {
            name: at_least_float32(weight).square() * statistics[name] / 2
            for name, weight in weights.items()
        }
