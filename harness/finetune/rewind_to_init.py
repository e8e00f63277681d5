from dataclasses import dataclass

from harness.finetune.base import Dense, Finetune, Fresh, RetrainingPlan, State
from harness.vocabulary.step_index import StepIndex


@dataclass(frozen=True)
class RewindToInit(Finetune):
    """weights = the initial ones under the mask, retrained by the whole dense recipe.

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635).
    """

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        return RetrainingPlan("training")

    def dense_checkpoints_needed(self, epochs: int) -> tuple[StepIndex, ...]:
        return (StepIndex(0),)

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State:
        return dense(StepIndex(0))
