from dataclasses import dataclass
from typing import Annotated

from harness.learning_rate.base import WARM_UP, warmup_factor, warmup_steps
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Constant:
    """factor(step) = 1 at every step, after the warm-up.

    >>> [Constant(warmup_epochs=1).factor(step, steps_per_epoch=2, epochs=2) for step in range(4)]
    [0.5, 1.0, 1.0, 1.0]

    Raises:
        ValueError: warmup_epochs is negative or not finite.
    """

    warmup_epochs: Annotated[float, WARM_UP] = 0.0

    def __post_init__(self) -> None:
        check_declared(self)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return warmup_factor(step, warmup_steps(self.warmup_epochs, steps_per_epoch))
