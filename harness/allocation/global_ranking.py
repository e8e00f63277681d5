from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.allocation.base import Allocation, Layer, Layers
from harness.vocabulary.tensors import Counts
from harness.vocabulary.topk import topk_counts


@dataclass(frozen=True)
class GlobalRanking(Allocation):
    """Layers compete by score / c: a layer keeps as many units as it has among the best of all.

    per: "unit": c = 1, scores as they are. "parameter", "mac", "latency": c is the number of
    parameters, of multiply-accumulates of one sample, or of nanoseconds by the latency table, that
    the network that is left loses with one more unit of the layer, in the layers that read it too:
    N(kept) - N(kept without one unit of it). It is that before a pruning, so rounds and levels
    follow it as layers become narrower. Units with c = 0 stay before all others.

    Scores are not normalised per layer: `structure.normalize` does that. A layer may end up empty,
    but for its floor.

    Source of the quotient: a gain per cost, as by memory in Liu et al. 2021, Group Fisher Pruning
    (arXiv:2108.00708).

    Raises:
        ValueError: per is unknown.
    """

    per: Literal["unit", "parameter", "mac", "latency"] = "unit"

    nested: ClassVar[bool] = True

    @property
    def needs_unsigned_scores(self) -> bool:
        return self.per != "unit"

    @property
    def needs_macs(self) -> bool:
        return self.per == "mac"

    @property
    def needs_latency(self) -> bool:
        return self.per == "latency"

    def distribute(self, layers: Layers, keep: int) -> Counts:
        return topk_counts({name: self._worth(layer) for name, layer in layers.items()}, keep)

    def _worth(self, layer: Layer) -> Tensor:
        if self.per == "unit":
            return layer.scores
        cost = {
            "parameter": layer.parameters_removed,
            "mac": layer.macs_removed,
            "latency": layer.nanoseconds_removed,
        }[self.per]
        scores = layer.scores.double()
        return scores / cost if cost else torch.where(scores > -torch.inf, torch.inf, scores)
