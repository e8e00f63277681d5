import math
from dataclasses import dataclass

from harness.schedule.shared.interpolation import Interpolation


@dataclass(frozen=True)
class Cosine(Interpolation):
    """s + (1 - s)(1 + cos(pi l/n)) / 2: little is pruned at first and at the end, level l of n.

    s is the kept fraction of `final`.

    >>> [round(kept, 9) for kept in Cosine(final=0.5, levels=3).kept_fractions(float)]
    [0.875, 0.625, 0.5]

    Source: the schedule `cos` of fasterai (github.com/nathanhubens/fasterai), which follows it
    over the batches of one training.
    """

    def kept_fraction(self, final: float, progress: float) -> float:
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
