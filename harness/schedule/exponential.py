import math
from dataclasses import dataclass
from typing import Annotated

from harness.schedule.shared.interpolation import Interpolation

RATE = "a number above 0; with 5 half of the removal is done after a seventh of the way"


@dataclass(frozen=True)
class Exponential(Interpolation):
    """1 - (1 - s)(1 - e^(-k l/n)) / (1 - e^(-k)): removal slows down exponentially, k = rate.

    s is the kept fraction of `final`, l the level of n. What is pruned falls by the same factor
    from level to level: k = ln(1/s) is Geometric, and k towards 0 is Linear.

    >>> [round(kept, 3) for kept in Exponential(final=0.1, levels=3).kept_fractions(float)]
    [0.265, 0.126, 0.1]

    Source: He et al. 2018, Asymptotic Soft Filter Pruning (arXiv:1808.07471), over epochs. They
    fix k by three quarters of the removal at an eighth of the training: rate = 11.09.

    Raises:
        ValueError: as Interpolation, or rate is not a finite number above 0.
    """

    rate: Annotated[float, RATE] = 5.0

    def kept_fraction(self, final: float, progress: float) -> float:
        # (e^(-kp) - e^(-k)) / (1 - e^(-k)), exactly 0 at p = 1 and without cancelling near k = 0.
        remaining = math.expm1(-self.rate * (1 - progress)) / math.expm1(-self.rate)
        return final + (1 - final) * math.exp(-self.rate * progress) * remaining
