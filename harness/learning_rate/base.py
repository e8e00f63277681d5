"""Defines what a learning-rate schedule is, and the warm-up of all of them; no torch."""

from typing import Protocol

WARM_UP = "a number >= 0; write 0 for no warm-up"


class LearningRate(Protocol):
    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Returns the factor of the optimizer's base learning rate at `step`.

        `step` is 0-based and counted from epoch 0 of the whole recipe, so that a model rewound
        to epoch 3 continues with the learning rate of epoch 3. `epochs` is the recipe's length.
        """


def warmup_steps(warmup_epochs: float, steps_per_epoch: int) -> int:
    return round(warmup_epochs * steps_per_epoch)


def warmup_factor(step: int, steps: int) -> float:
    """Returns (step + 1) / steps up to 1, so linear from 1/n to 1.

    It is 1 when there is no warm-up.

    >>> [warmup_factor(step, 4) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / steps) if steps else 1.0
