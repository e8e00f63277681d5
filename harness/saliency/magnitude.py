from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.tensors import Batch, Loss, Mean, Tensors


@dataclass(frozen=True)
class Magnitude:
    """|weight|: small weights go first. Needs no data.

    Source: Han et al. 2015, Learning both Weights and Connections (arXiv:1506.02626).
    """

    granularity: ClassVar[str] = "weight"

    def evidence(
        self, model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean
    ) -> Tensors:
        return {}

    def score(self, weights: Tensors, evidence: Tensors) -> Tensors:
        return {name: weight.abs() for name, weight in weights.items()}
