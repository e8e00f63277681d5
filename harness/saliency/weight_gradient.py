from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.saliency.evidence import mean_gradients
from harness.tensors import Batch, Loss, Mean, Tensors


@dataclass(frozen=True)
class WeightGradient:
    """|weight x mean gradient|: first-order estimate of the loss change if the weight goes.

    At initialisation this is SNIP (Lee et al. 2019, arXiv:1810.02340); on a trained network it
    is the gradient baseline of Blalock et al. 2020 (arXiv:2003.03033). We skip SNIP's division
    by the sum of all scores, which cannot change a ranking, and score weights only: the
    authors' code prunes biases too.
    """

    granularity: ClassVar[str] = "weight"

    def evidence(
        self, model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean
    ) -> Tensors:
        return mean_gradients(model, batches, loss, mean)

    def score(self, weights: Tensors, evidence: Tensors) -> Tensors:
        # abs() after the mean over all ranks: averaging absolute values gives another ranking.
        return {name: (weight * evidence[name]).abs() for name, weight in weights.items()}
