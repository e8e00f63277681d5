"""A point inside a training, between two optimizer steps."""

from typing import NamedTuple


class Moment(NamedTuple):
    """After `epoch` whole epochs and `step` further optimizer steps.

    >>> Moment(0, 70).settled(steps_per_epoch=32), Moment(2).steps(32)
    (Moment(epoch=2, step=6), 64)
    """

    epoch: int
    step: int = 0

    def steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps from the beginning of the training."""
        return self.epoch * steps_per_epoch + self.step

    def settled(self, steps_per_epoch: int) -> "Moment":
        """The same point with fewer steps than an epoch has."""
        return Moment(*divmod(self.steps(steps_per_epoch), steps_per_epoch))


START = Moment(0)
