from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.finetune.base import Plan
from harness.vocabulary.step_index import Moment

if TYPE_CHECKING:
    from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class ScratchE:
    """New random weights under the same mask, by the whole dense recipe: the same epochs.

    New ones at every level, from the run's seed. Source: Liu et al. 2019, Scratch-E
    (arXiv:1810.05270), whose code draws a sparse layer's new weights at a scale for what is left
    of it; ours is the model's own initialisation.
    """

    def plan(self, epochs: int, speedup: float) -> Plan:
        return Plan("training")

    def moments(self, epochs: int) -> tuple[Moment, ...]:
        return ()

    def weights(
        self, epochs: int, dense: "Callable[[Moment], Tensors]", fresh: "Callable[[], Tensors]"
    ) -> "Tensors":
        return fresh()
