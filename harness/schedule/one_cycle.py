import math
from dataclasses import dataclass
from typing import Annotated

from harness.schedule.shared.interpolation import Interpolation


@dataclass(frozen=True)
class OneCycle(Interpolation):
    """1 - (1 - s)(1 + e^(-a + b)) / (1 + e^(-a l/n + b)): an S, steepest at b/a of the way.

    s is the kept fraction of `final`, l the level or event of n, a = alpha, b = beta. The S
    does not begin at 0: event 0 of a training removes (1 - s) / 149 already.

    >>> [round(kept, 3) for kept in OneCycle(final=0.1, levels=4).kept_fractions(float)]
    [0.836, 0.207, 0.104, 0.1]

    Source: Hubens et al. 2021, One-Cycle Pruning (arXiv:2107.02086), with their a and b. Their
    library fasterai has b = 6, a little later. They prune from the first to the last step of one
    training, where gradual.last_step leaves the last quarter by default.

    Raises:
        ValueError: as Interpolation, alpha is not in (0, 100], or beta not in (0, alpha].
    """

    alpha: Annotated[float, "a number in (0, 100]; the authors have 14"] = 14.0
    beta: Annotated[float, "a number above 0; beta / alpha is the steepest point"] = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta > self.alpha:
            raise ValueError(
                f"beta must be at most alpha, got beta={self.beta} and alpha={self.alpha}; "
                "beta / alpha is the steepest point"
            )

    def kept_fraction(self, final: float, progress: float) -> float:
        # 1 - (1 + e^(b - a)) / (1 + e^(b - ap)) in a form that is exactly 0 at p = 1.
        remaining = -math.expm1(-self.alpha * (1 - progress))
        return final + (1 - final) * remaining / (1 + math.exp(self.alpha * progress - self.beta))
