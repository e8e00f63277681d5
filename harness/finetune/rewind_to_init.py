from collections.abc import Callable
from dataclasses import dataclass

from harness.finetune.base import Start
from harness.tensors import Tensors


@dataclass(frozen=True)
class RewindToInit:
    """Weights go back to their first values; the whole dense recipe runs again.

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635).
    """

    dense_epochs: tuple[int, ...] = (0,)

    def start(self, dense: Callable[[int], Tensors], fresh: Callable[[], Tensors]) -> Start:
        return Start(dense(0), "training")
