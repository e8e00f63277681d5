from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.saliency.base import Saliency
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class FPGM(Saliency):
    """sum over the layer's live filters of ||w_i - w_j||: filters near all others are pruned first.

    Rows of a linear layer's weight count as filters. Needs no data. A filter whose weights are all
    0 counts as pruned: it scores 0 and adds nothing to the others. (units,) per layer.
    A sum over more filters, or over longer ones, is larger: layers compare with
    allocation=uniform, as in the paper, not with global_ranking.

    Source: He et al. 2019, Filter Pruning via Geometric Median (arXiv:1811.00250).
    The authors' code prunes softly, so that zeroed filters stay among those it measures to.
    """

    granularity: ClassVar[str] = "unit"
    layer_local: ClassVar[bool] = True

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: _distances(weight) for name, weight in weights.items()}


def _distances(weight: Tensor) -> Tensor:
    rows = weight.flatten(1)
    live = rows.count_nonzero(dim=1) > 0
    # Without matrix products, which lose the small distances of large filters.
    living = rows[live].double()
    between = torch.cdist(living, living, compute_mode="donot_use_mm_for_euclid_dist")
    scores = rows.new_zeros(len(rows))
    scores[live] = between.sum(dim=1).to(rows.dtype)
    return scores
