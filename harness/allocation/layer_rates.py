from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, ClassVar

from harness.allocation.base import Allocation, Layers
from harness.allocation.shared.patterns import check_patterns, first_match
from harness.vocabulary.apportion import apportion, whole_numbers
from harness.vocabulary.tensors import Counts

RATE = "a number >= 0; write e.g. {last: 0.5}"
PLACES = ("first", "last")


@dataclass(frozen=True)
class LayerRates(Allocation):
    """Every layer loses the fraction r p of the units that it still has, with its own r.

    p is the same for all layers and such that the total is exact; rounding is settled by largest
    remainder. A layer with r p above 1 loses all its units, and the others lose more for it. With
    equal rates all layers lose the same fraction of what they have. A layer at rate 0 loses a unit
    only when no other layer has one left.

    rates: pattern -> r, at least 0; a layer that none fits has r = 1. A pattern is the name of a
    layer ("fc1") or of its weight, or has wildcards ("conv*"), or is "last" or "first": the layers
    that give the model's output, or that read nothing but its input. Of several that fit a layer
    the first counts.

    Source: Frankle & Carbin 2019 (arXiv:1803.03635), figure 2: the output layer is pruned at half
    the rate of the others, 10 % in place of 20 % of what is left. p is read there, and follows from
    the schedule's total here.

    Raises:
        ValueError: rates is no mapping of names to numbers >= 0; when used, a pattern fits no
        layer.
    """

    rates: dict[str, Annotated[float, RATE]] = field(default_factory=dict)

    needs_layer_order: ClassVar[bool] = True

    def floors(self, layers: Layers) -> Counts:
        check_patterns("rates", [name for name in self.rates if name not in PLACES], layers)
        return super().floors(layers)

    def distribute(self, layers: Layers, keep: int) -> Counts:
        alive = {name: layer.alive for name, layer in layers.items()}
        pull = {name: self._rate(name, layers) * alive[name] for name in layers}
        removed = apportion(sum(alive.values()) - keep, whole_numbers(pull), alive)
        return {name: alive[name] - removed[name] for name in layers}

    def _rate(self, name: str, layers: Layers) -> Fraction:
        layer = layers[name]
        for pattern, rate in self.rates.items():
            at_place = (pattern == "last" and layer.last) or (pattern == "first" and layer.first)
            if at_place or first_match([pattern], name):
                return Fraction(str(rate))
        return Fraction(1)
