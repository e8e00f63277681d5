from dataclasses import dataclass
from typing import ClassVar

import torch

from harness.saliency.base import Saliency
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Random(Saliency):
    """Scores are uniform noise in [0, 1): the baseline that every method must beat.

    Drawn on the CPU from (seed, parameter name), so that it is the same on every rank and
    device, and at every level: with shrinking masks a weight's luck does not change.
    """

    seed: int

    any_parameter: ClassVar[bool] = True

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: self._noise(name, w.shape).to(w.device) for name, w in weights.items()}

    def _noise(self, name: str, shape: torch.Size) -> torch.Tensor:
        stream = torch.Generator().manual_seed(derive(self.seed, "saliency", name))
        return torch.rand(shape, generator=stream)
