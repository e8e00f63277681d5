from collections.abc import Iterable
from typing import Protocol

from torch import Tensor, nn


class Recalibration(Protocol):
    """What is measured anew on training inputs after a pruning, without any training."""

    @property
    def samples(self) -> int:
        """Inputs asked for, in all."""

    @property
    def batch_size(self) -> int:
        """Inputs in each batch but the last."""

    def check(self, model: nn.Module) -> None:
        """Before any training.

        Raises:
            ValueError: the model has nothing to recalibrate.
        """

    def apply(self, model: nn.Module, batches: Iterable[Tensor]) -> None:
        """Measures in place. Every rank is given the same batches, so that none need be asked.

        Raises:
            ValueError: there is no batch.
        """
