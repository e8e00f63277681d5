from typing import Protocol

from torch import Tensor


class Task(Protocol):
    """Loss and measures, always as SUMS over the samples, so that ranks can add them up."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Differentiable training loss, summed over the samples (a scalar)."""
        ...

    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Sums over the samples of "top1", "top5" (hits) and "loss", as scalars."""
        ...
