"""Defines recalibration."""

from collections.abc import Iterable
from typing import Protocol

from torch import nn

from harness.vocabulary.given.inputs import Inputs


class Recalibration(Protocol):
    """Measures statistics anew on training inputs after a pruning, without any training."""

    @property
    def samples(self) -> int:
        """Returns the number of inputs to measure on."""

    @property
    def batch_size(self) -> int:
        """Returns the number of inputs in each batch but the last."""

    def check(self, model: nn.Module) -> None:
        """Checks the model before any training.

        Raises:
            ValueError: the model has nothing to recalibrate.
        """

    def apply(self, model: nn.Module, batches: Iterable[Inputs]) -> None:
        """Measures in place. Every rank gets the same batches, so no communication is needed.

        Raises:
            ValueError: there is no batch.
        """
