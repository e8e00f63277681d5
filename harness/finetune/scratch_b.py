import math
from dataclasses import dataclass
from typing import Annotated

from harness.finetune.base import Dense, Finetune, Fresh, RetrainingPlan, State
from harness.vocabulary.checks import check_declared

LIMIT = "a number >= 1; times the length of dense training, null for no limit"


@dataclass(frozen=True)
class ScratchB(Finetune):
    """weights = new random ones under the mask; epochs = round(dense epochs x speed-up).

    That is the compute of dense training, to half an epoch. The learning-rate schedule is stretched
    with the recipe. The speed-up is the record's theoretical one, of the network that is left, as
    Liu et al. count it on the small model.

    limit: the recipe is at most so many times as long as the dense one; None for no limit.

    Source: Liu et al. 2019, Scratch-B (arXiv:1810.05270), who take at most twice the epochs on
    ImageNet; their code cuts a broken epoch off where we round.

    Raises:
        ValueError: limit is not a finite number of at least 1.
    """

    limit: Annotated[float, LIMIT] | None = None

    def __post_init__(self) -> None:
        check_declared(self)

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        return RetrainingPlan("training", stretch=min(speedup, self.limit or math.inf))

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State:
        return fresh()
