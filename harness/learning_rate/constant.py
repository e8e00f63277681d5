from dataclasses import dataclass

from harness.learning_rate.base import check_warmup, warmup_factor, warmup_steps


@dataclass(frozen=True)
class Constant:
    """factor(step) = 1 at every step, after the warm-up.

    >>> [Constant(warmup_epochs=1).factor(step, steps_per_epoch=2, epochs=2) for step in range(4)]
    [0.5, 1.0, 1.0, 1.0]

    Raises:
        ValueError: warmup_epochs is negative or not finite.
    """

    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        check_warmup(self.warmup_epochs)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return warmup_factor(step, warmup_steps(self.warmup_epochs, steps_per_epoch))
