import math
from dataclasses import dataclass
from typing import Annotated

from harness.learning_rate.base import WARM_UP, warmup_factor, warmup_steps
from harness.vocabulary.checks import check_declared

FINAL = "a number in [0, 1]; it is a fraction of the base rate"


@dataclass(frozen=True)
class Cosine:
    """f + (1 - f)(1 + cos(pi p)) / 2, where p is the fraction done of the steps after the warm-up.

    p = 1, where the factor is f = final_factor, falls on the step after the recipe's last, as in
    torch's CosineAnnealingLR; later steps stay at f.

    >>> [round(Cosine().factor(step, steps_per_epoch=2, epochs=2), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]

    Source: Loshchilov & Hutter 2017, SGDR (arXiv:1608.03983), equation 5, without restarts and
    stepped per batch.

    Raises:
        ValueError: final_factor is not in [0, 1], or warmup_epochs is negative.
    """

    final_factor: Annotated[float, FINAL] = 0.0
    warmup_epochs: Annotated[float, WARM_UP] = 0.0

    def __post_init__(self) -> None:
        check_declared(self)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        warmup = warmup_steps(self.warmup_epochs, steps_per_epoch)
        if step < warmup:
            return warmup_factor(step, warmup)
        falling = max(1, steps_per_epoch * epochs - warmup)
        done = min(1.0, (step - warmup) / falling)
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * done)) / 2
