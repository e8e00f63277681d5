from collections.abc import Callable
from dataclasses import dataclass

from harness.tensors import Tensors


@dataclass(frozen=True)
class NoFinetune:
    """No retraining: the network stays as pruning left it, and the next level prunes on."""

    dense_epochs: tuple[int, ...] = ()

    def start(self, dense: Callable[[int], Tensors], fresh: Callable[[], Tensors]) -> None:
        return None
