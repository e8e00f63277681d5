from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.vocabulary.step_index import Moment

if TYPE_CHECKING:
    from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class NoFinetune:
    """No retraining: the network stays as pruning left it, and the next level prunes on."""

    def plan(self, epochs: int, speedup: float) -> None:
        return None

    def moments(self, epochs: int) -> tuple[Moment, ...]:
        return ()

    def weights(
        self, epochs: int, dense: "Callable[[Moment], Tensors]", fresh: "Callable[[], Tensors]"
    ) -> None:
        return None
