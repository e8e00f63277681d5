from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.finetune.fine_tuning import FineTuning
from harness.vocabulary.step_index import Moment

if TYPE_CHECKING:
    from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Reinit(FineTuning):
    """New random weights under the same mask, retrained like fine-tuning: its control.

    New ones at every level, from the run's seed. Source: Frankle & Carbin 2019
    (arXiv:1803.03635), who train them by the full dense recipe: that is scratch_e.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or the recipe is unknown.
    """

    def weights(
        self, epochs: int, dense: "Callable[[Moment], Tensors]", fresh: "Callable[[], Tensors]"
    ) -> "Tensors":
        return fresh()
