from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.saliency.evidence import mean_gradients
from harness.tensors import Batch, Loss, Mean, Tensors


@dataclass(frozen=True)
class Gradient:
    """|mean gradient of the loss|: weights that the loss hardly feels go first.

    The mean over all calibration samples of all ranks comes before the absolute value.
    Blalock et al. 2020 multiply by the weight in what they call gradient pruning; that is
    `weight_gradient`.
    """

    granularity: ClassVar[str] = "weight"

    def evidence(
        self, model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean
    ) -> Tensors:
        return mean_gradients(model, batches, loss, mean)

    def score(self, weights: Tensors, evidence: Tensors) -> Tensors:
        return {name: evidence[name].abs() for name in weights}
