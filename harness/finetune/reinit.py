from dataclasses import dataclass

from harness.finetune.base import Dense, Fresh, State
from harness.finetune.fine_tuning import FineTuning


@dataclass(frozen=True)
class Reinit(FineTuning):
    """weights = new random ones under the same mask, retrained like fine-tuning, as its control.

    They are drawn anew at every level, from the run's seed. Source: Frankle & Carbin 2019
    (arXiv:1803.03635), who train them by the full dense recipe; that is scratch_e.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or the recipe is unknown.
    """

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State:
        return fresh()
