from collections.abc import Iterable
from typing import Protocol

from torch import nn

from harness.tensors import Batch, Loss, Mean, Tensors


class Saliency(Protocol):
    """How much each weight is worth keeping: the higher its score, the longer it stays."""

    @property
    def granularity(self) -> str:
        """ "weight": one score per weight, pooled by the structure; "unit": one per unit."""
        ...

    def evidence(
        self, model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean
    ) -> Tensors:
        """What the scores need from data; this rank's batches, averaged over ranks by `mean`.

        `mean(sums, samples)` is (sum over ranks) / (samples over ranks): it comes before any
        abs, square or other non-linearity that the method applies to the averaged quantity.
        The model comes back bit for bit as it was: weights, gradients, mode, statistics.
        """
        ...

    def score(self, weights: Tensors, evidence: Tensors) -> Tensors:
        """One score per weight, in the weight's shape; reads its arguments only."""
        ...
