"""What an augmentation is: a pure function of inputs and of numbers drawn for each sample."""

from typing import Protocol

from torch import Tensor


class Augmentation(Protocol):
    """Changes training inputs at random: harness.vocabulary.counter_rng says which way, by sample
    and epoch."""

    @property
    def draws(self) -> int:
        """How many random numbers a sample needs."""

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """New inputs of the same shape, dtype and device; its arguments are left unchanged.

        `inputs`: (samples, ...). `draws`: (samples, self.draws), in [0, 1), float64, on the same
        device. Equal arguments give equal results, and a sample's depends on its own row only.

        Raises:
            ValueError: the inputs are not of a kind that it can change.
        """
