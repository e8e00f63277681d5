from collections.abc import Callable
from dataclasses import dataclass

from harness.finetune.base import Start
from harness.tensors import Tensors


@dataclass(frozen=True)
class Reinit:
    """New random weights under the same mask, by the retraining recipe: the control.

    New ones at every level, from the run's seed. Source: Frankle & Carbin 2019
    (arXiv:1803.03635), who train them by the full recipe; give `retraining` that recipe for it.
    """

    dense_epochs: tuple[int, ...] = ()

    def start(self, dense: Callable[[int], Tensors], fresh: Callable[[], Tensors]) -> Start:
        return Start(fresh(), "retraining")
