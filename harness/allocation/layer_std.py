from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from harness.allocation.base import Allocation, Layer, Layers
from harness.allocation.shared.patterns import check_patterns, first_match
from harness.vocabulary.tensors import Counts
from harness.vocabulary.topk import topk_counts

FACTOR = "a number above 0; write e.g. {conv1: 0.5}"


@dataclass(frozen=True)
class LayerStd(Allocation):
    """A layer keeps the scores above q x factor x the standard deviation of its weights.

    q is the same for all layers, and such that the total is exact: layers compete by
    score / (factor x std). With saliency=magnitude (norm=l1) this is the rule of the source, who
    choose q by hand.

    quality: pattern -> factor > 0 of the layers that it fits, 1 for all others; larger ones prune
    more. Patterns as in allocation=manual: a name or wildcards, the first that fits counts.

    The deviation is that of the layer's live (non-zero) weights about their mean, over their
    number. A layer in which it is 0, because one weight is left or all are equal, has threshold 0
    as in the source: its units alive are kept before those of any other layer.

    Source: Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks
    (arXiv:1506.02626). They do not say about what the deviation is taken.

    Raises:
        ValueError: quality is no mapping of names to factors > 0; when used, a pattern fits no
            layer, or a layer comes without its weight.
    """

    quality: dict[str, Annotated[float, FACTOR]] = field(default_factory=dict)

    nested: ClassVar[bool] = True

    def floors(self, layers: Layers) -> Counts:
        check_patterns("quality", self.quality, layers)
        return super().floors(layers)

    def distribute(self, layers: Layers, keep: int) -> Counts:
        return topk_counts({name: self._scaled(name, layers[name]) for name in layers}, keep)

    def _scaled(self, name: str, layer: Layer) -> Tensor:
        pattern = first_match(self.quality, name)
        unit = _deviation(name, layer) * (1.0 if pattern is None else self.quality[pattern])
        scores = layer.scores.detach().double()
        if unit == 0:
            return torch.where(scores > -torch.inf, torch.inf, -torch.inf)
        return scores / unit


def _deviation(name: str, layer: Layer) -> float:
    if layer.weight is None:
        raise ValueError(
            f"allocation=layer_std needs the weight of {name} beside its scores (Layer.weight)"
        )
    live = layer.weight.detach()[layer.weight != 0].double()
    # Equal weights are equal to their mean only up to rounding.
    if live.numel() == 0 or live.min() == live.max():
        return 0.0
    return float(live.std(correction=0))
