from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.saliency.base import CalibrationData
from harness.saliency.shared.activations import UnitSaliency, mean_of_gates
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class TaylorUnit(UnitSaliency):
    """mean over samples of (dL/dgate)^2, gate a factor 1 on a unit's map: (units,) per layer.

    dL/dgate = sum over positions of z dL/dz, where z is the output of the unit's norm, or of its
    layer with bias where no norm goes with it (`mean_of_maps` says which). It is the first-order
    change of a sample's loss when the unit, bias and shift included, is removed: for a layer
    without norm it equals sum w g + b g_b over the unit's weights and its bias, behind a norm
    gamma g_gamma + beta g_beta.

    Source: Molchanov et al. 2019 (arXiv:1906.10771), with the gates that the paper found
    best. Their code squares the gradient of each mini-batch's mean
    loss (method 22); we square per sample, which makes batch size, cuts and ranks irrelevant.
    """

    needs_loss: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_of_gates(data, _square)


def _square(gradient: Tensor, positions: int) -> Tensor:
    return gradient.square()
