"""Defines what a mixing is: it joins each sample of a batch with another one, labels too."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Mixing(Protocol):
    """Mixes each sample of a global batch with its partner, after the augmentation of both.

    A sample's partner is the one before it in the global batch, the last one for the first: the
    order is random in each epoch. So each sample is once a partner, on every number of ranks. The
    training loss is weight * loss(own labels) + (1 - weight) * loss(partners' labels), summed over
    samples, and the recorded one is its mean. Distillation gets the samples' own labels.
    """

    @property
    def draws(self) -> int:
        """Returns how many random numbers a global batch needs."""

    def mix(self, inputs: Tensor, partners: Tensor, draws: Sequence[float]) -> tuple[Tensor, float]:
        """Returns new inputs, and the weight of their own labels, in [0, 1].

        `inputs`, `partners`: (samples, ...), left unchanged. `draws`: self.draws numbers in [0, 1),
        the same for all samples and ranks. Equal arguments give equal results.

        Raises:
            ValueError: the inputs are not of a kind that it can mix.
        """
