"""Defines what an augmentation is: a pure function of inputs and random numbers per sample."""

from typing import Protocol

from torch import Tensor


class Augmentation(Protocol):
    """Changes training inputs at random, as harness.vocabulary.counter_rng draws it.

    The draw depends on the sample and the epoch. Inputs come as the split yields them, so pictures
    are normalised in most cases. An augmentation that is defined on pixels has a method
    `with_scale(scale: PixelScale | None) -> Augmentation`, which is called once before training:
    None if the split does not say its mean and std.
    """

    @property
    def draws(self) -> int:
        """Returns how many random numbers a sample needs."""

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """Returns new inputs of the same shape, dtype and device; its arguments are unchanged.

        `inputs`: (samples, ...). `draws`: (samples, self.draws), in [0, 1), float64, on the same
        device. Equal arguments give equal results, and a sample's depends on its own row only.

        Raises:
            ValueError: the inputs are not of a kind that it can change.
        """
