from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.tensors import Tensors


@dataclass(frozen=True)
class Start:
    """How retraining begins; the optimizer is always a new one, without state.

    weights: whole state to load before the masks are applied; None keeps the pruned network's.
    recipe: "retraining", or "training" for the dense recipe again.
    first_epoch: epoch of that recipe (0-based) from which its schedule and length count.
    """

    weights: Tensors | None
    recipe: Literal["training", "retraining"]
    first_epoch: int = 0


class Finetune(Protocol):
    """Weights and learning-rate schedule that retraining starts from, at every level."""

    @property
    def dense_epochs(self) -> tuple[int, ...]:
        """Epochs of dense training that `start` asks for: 0 is the initial network."""
        ...

    def start(self, dense: Callable[[int], Tensors], fresh: Callable[[], Tensors]) -> Start | None:
        """None: no retraining. `dense(k)`: state after k dense epochs; `fresh()`: a new one.

        Also asked for recipe and first epoch alone, with functions that give {}: pass states on,
        do not look into them.
        """
        ...
