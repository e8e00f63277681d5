import math
from dataclasses import dataclass

from harness.schedule.shared.curve import Curve


@dataclass(frozen=True)
class Cosine(Curve):
    """s + (1 - s)(1 + cos(pi l/n)) / 2: little goes at first and at the end, at level l of n.

    s is the share that `final` stands for.

    >>> [round(share, 9) for share in Cosine(final=0.5, levels=3).shares(float)]
    [0.875, 0.625, 0.5]

    Source: the schedule `cos` of fasterai (github.com/nathanhubens/fasterai), which follows it
    over the batches of one training.
    """

    def left(self, end: float, progress: float) -> float:
        return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2
