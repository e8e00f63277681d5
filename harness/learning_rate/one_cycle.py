import math
from dataclasses import dataclass
from typing import Annotated, Literal

from harness.vocabulary.checks import check_declared

RISING = "a number in [0, 1]; it is the fraction of the steps in which the rate rises"
DIVISOR = "a number above 0; write e.g. 25"


@dataclass(frozen=True)
class OneCycle:
    """Rises from 1 / start_divisor to 1, then falls to 1 / (start_divisor * end_divisor).

    The optimizer's lr is the highest rate. With n steps in all it is reached at step
    rising * n - 1, and the lowest at the last step, n - 1. anneal: both ways are half a cosine, or
    straight lines. Momentum is not cycled, which torch's OneCycleLR does by default.

    >>> cycle = OneCycle(rising=0.5, start_divisor=4, end_divisor=2, anneal="linear")
    >>> [cycle.factor(step, steps_per_epoch=4, epochs=2) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 0.78125, 0.5625, 0.34375, 0.125]

    Source: Smith & Topin 2018, Super-Convergence (arXiv:1708.07120), as torch's OneCycleLR has it.

    Raises:
        ValueError: rising is not in [0, 1], or a divisor is not above 0.
    """

    rising: Annotated[float, RISING] = 0.3
    start_divisor: Annotated[float, DIVISOR] = 25.0
    end_divisor: Annotated[float, DIVISOR] = 10_000.0
    anneal: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        check_declared(self)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        last = steps_per_epoch * epochs - 1
        top = self.rising * (last + 1) - 1
        start = 1 / self.start_divisor
        if step <= top:
            return self._between(start, 1.0, step / top if top else 1.0)
        done = min(1.0, (step - top) / (last - top)) if last > top else 1.0
        return self._between(1.0, start / self.end_divisor, done)

    def _between(self, start: float, end: float, done: float) -> float:
        share = done if self.anneal == "linear" else (1 - math.cos(math.pi * done)) / 2
        return start + (end - start) * share
