from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.saliency.base import CalibrationData
from harness.saliency.shared.activations import UnitSaliency, mean_of_maps
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class HRank(UnitSaliency):
    """mean over samples of the matrix rank of relu(z), z a unit's H x W map: (units,) per layer.

    z as `mean_of_maps` names it. The last dimension of a map makes the matrix's columns, all
    others its rows: D H x W of a Conv3d; 1 x L of a Conv1d, 1 x T of a Linear on tokens and 1 x 1
    of a Linear on vectors, whose rank is 1 or 0: there the score is the fraction of samples on
    which the unit is active at all.

    The rank counts singular values above max(rows, columns) * eps * (the largest), eps that of
    the model's dtype, as numpy does. They are computed in float64, so that a value near that
    threshold is decided by the map and not by the decomposition.

    Source: Lin et al. 2020, HRank (arXiv:2002.10179). The authors rank the output of the
    model's ReLU modules, behind a residual addition too; we rank each unit's own map. They
    average over 640 images, and compare within a layer: layers of larger maps have larger ranks,
    so use allocation=uniform.
    """

    layer_local: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_of_maps(data, _ranks)


def _ranks(z: Tensor) -> Tensor:
    a = z.relu()
    matrices = a.reshape(len(a), -1, a.shape[-1])
    relative = max(matrices.shape[1:]) * torch.finfo(a.dtype).eps
    # The decomposition refuses a NaN without a name; passed on, it is refused with the layer's.
    finite = matrices.isfinite().flatten(1).all(1)
    ranks = torch.linalg.matrix_rank(matrices.nan_to_num(0, 0, 0).double(), rtol=relative)
    return torch.where(finite, ranks.to(a.dtype), torch.nan)
