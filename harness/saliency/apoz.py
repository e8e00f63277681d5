from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.saliency.base import CalibrationData
from harness.saliency.shared.activations import UnitSaliency, mean_of_maps
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class APoZ(UnitSaliency):
    """1 - average fraction of zeros in relu(z), in [0, 1]: mostly inactive units are pruned first.

    The fraction is over samples and positions of a unit's map z, as `mean_of_maps` defines it:
    the score is the fraction of z > 0. (units,) per layer.

    Source: Hu et al. 2016, Network Trimming (arXiv:1607.03250). The paper removes units
    more than one standard deviation above the layer's mean APoZ; here the allocation decides.
    """

    layer_local: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_of_maps(data, _fraction_active)


def _fraction_active(z: Tensor) -> Tensor:
    # A NaN, which would count as inactive, is passed on and refused with the layer's name.
    return torch.where(z.isfinite(), (z > 0).to(z.dtype), torch.nan).flatten(1).mean(1)
