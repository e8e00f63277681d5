from collections.abc import Callable
from dataclasses import dataclass

from harness.finetune.base import Start
from harness.tensors import Tensors


@dataclass(frozen=True)
class WeightRewind:
    """Weights and learning-rate schedule go back to the end of dense epoch `epoch`.

    Trains the rest of the dense recipe: its epochs from `epoch` on. Masks come from the end of
    training. Source: Renda et al. 2020 (arXiv:2003.02389), Frankle et al. 2019
    (arXiv:1903.01611). Any epoch of dense training will do; the ones in `keep_epochs` are on
    disk already, another is trained again from the start, bit for bit.

    Raises:
        ValueError: epoch < 0.
    """

    epoch: int

    def __post_init__(self) -> None:
        if self.epoch < 0:
            raise ValueError(f"epoch must be at least 0 (the initial weights), got {self.epoch}")

    @property
    def dense_epochs(self) -> tuple[int, ...]:
        return (self.epoch,)

    def start(self, dense: Callable[[int], Tensors], fresh: Callable[[], Tensors]) -> Start:
        return Start(dense(self.epoch), "training", self.epoch)
