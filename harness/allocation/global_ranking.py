from dataclasses import dataclass
from typing import ClassVar

from harness.allocation.base import Allocation, Layers
from harness.vocabulary.tensors import Counts
from harness.vocabulary.topk import topk_counts


@dataclass(frozen=True)
class GlobalRanking(Allocation):
    """Layers compete: a layer keeps as many units as it has among the best of the model.

    Scores are compared as they are, without a normalisation per layer. A layer may end up
    empty, but for its floor.
    """

    nested: ClassVar[bool] = True

    def distribute(self, layers: Layers, keep: int) -> Counts:
        return topk_counts({name: layer.scores for name, layer in layers.items()}, keep)
