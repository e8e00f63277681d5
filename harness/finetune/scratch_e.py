from dataclasses import dataclass

from harness.finetune.base import Dense, Finetune, Fresh, RetrainingPlan, State


@dataclass(frozen=True)
class ScratchE(Finetune):
    """weights = new random ones under the mask; epochs = those of the whole dense recipe.

    They are drawn anew at every level, from the run's seed. Source: Liu et al. 2019, Scratch-E
    (arXiv:1810.05270), whose code draws a sparse layer's new weights at a scale for what is left
    of it; ours is the model's own initialisation.
    """

    def plan(self, epochs: int, speedup: float) -> RetrainingPlan:
        return RetrainingPlan("training")

    def initial_weights(self, epochs: int, dense: Dense, fresh: Fresh) -> State:
        return fresh()
