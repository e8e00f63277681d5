from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.saliency.base import CalibrationData
from harness.saliency.shared.activations import UnitSaliency, mean_of_gates
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class TaylorActivation(UnitSaliency):
    """mean over samples of |mean over positions of z dL/dz|, over its L2 norm in the layer.

    z is a unit's map before its activation, but the one behind a ReLU, a = relu(z), gives the
    same: dL/dz is dL/da where z > 0 and 0 elsewhere, so z dL/dz = a dL/da at every position. A
    max-pool hands each gradient to the entry that it let through, so it keeps the sum over
    positions; it changes their number, a factor that the layer's norm divides out again.

    normalise: divide by the L2 norm of the layer's scores, so that layers compare; a layer whose
    scores are all 0 keeps them.

    Source: Molchanov et al. 2017 (arXiv:1611.06440). The mean over
    positions comes before the absolute value, as in the paper; the authors' later code (2019,
    method 6) takes the absolute value first. L is one sample's loss, where code on mini-batches
    has 1/batch size of it.

    Raises:
        ValueError: normalise is not a bool.
    """

    normalise: bool = True

    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_of_gates(data, _absolute)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        change = _normalised if self.normalise else torch.clone
        return {name: change(statistics[name]) for name in weights}


def _absolute(gradient: Tensor, positions: int) -> Tensor:
    return (gradient / positions).abs()


def _normalised(values: Tensor) -> Tensor:
    # In float64, where the squares of small gradients do not vanish.
    in_float64 = values.double()
    length = in_float64.norm()
    return torch.where(length > 0, in_float64 / length, in_float64).to(values.dtype)
