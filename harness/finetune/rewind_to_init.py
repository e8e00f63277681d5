from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.finetune.base import Plan
from harness.vocabulary.step_index import Moment

if TYPE_CHECKING:
    from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class RewindToInit:
    """Weights go back to their first values; the whole dense recipe runs again.

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635).
    """

    def plan(self, epochs: int, speedup: float) -> Plan:
        return Plan("training")

    def moments(self, epochs: int) -> tuple[Moment, ...]:
        return (Moment(0),)

    def weights(
        self, epochs: int, dense: "Callable[[Moment], Tensors]", fresh: "Callable[[], Tensors]"
    ) -> "Tensors":
        return dense(Moment(0))
