"""Defines a position inside a training, between two optimizer steps."""

from typing import NamedTuple


class StepIndex(NamedTuple):
    """Represents the position after `epoch` whole epochs and `step` further optimizer steps.

    >>> StepIndex(0, 70).normalized(steps_per_epoch=32), StepIndex(2).steps(32)
    (StepIndex(epoch=2, step=6), 64)
    """

    epoch: int
    step: int = 0

    def steps(self, steps_per_epoch: int) -> int:
        """Returns the number of optimizer steps from the beginning of the training."""
        return self.epoch * steps_per_epoch + self.step

    def normalized(self, steps_per_epoch: int) -> "StepIndex":
        """Returns the same position with fewer steps than an epoch has."""
        return StepIndex(*divmod(self.steps(steps_per_epoch), steps_per_epoch))


START = StepIndex(0)
