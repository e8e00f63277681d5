"""Lets a rehearsed training update its masks, as the run's own training does at first."""

from dataclasses import dataclass

from harness.mask_updates.base import MaskUpdater
from harness.vocabulary.tensors import Tensors

UPDATE = 1  # step of the rehearsed training whose place the update takes
LOOKED_AT = 100_000  # steps of the run's training


@dataclass(frozen=True)
class FirstUpdate(MaskUpdater):
    """Is a mask updater whose step UPDATE is the one at which another updates first.

    updater: the run's own. first, steps: its first update, in a training of so many steps.
    """

    updater: MaskUpdater
    first: int
    steps: int

    @classmethod
    def of(cls, updater: MaskUpdater, steps: int) -> "FirstUpdate":
        """Returns the first update of a training.

        Raises:
            ValueError: there is none in the first steps.
        """
        looked_at = min(steps, LOOKED_AT)
        for step in range(looked_at):
            if updater.updates(step, steps):
                return cls(updater, step, steps)
        raise ValueError(f"no update in the first {looked_at} steps")

    def updates(self, step: int, steps: int) -> bool:
        return step == UPDATE

    def needs_dense_gradients(self, step: int, steps: int) -> bool:
        before = UPDATE - step  # steps to the update
        return 0 <= before <= self.first and self.updater.needs_dense_gradients(
            self.first - before, self.steps
        )

    def accumulate(self, statistics: Tensors, gradients: Tensors) -> Tensors:
        return self.updater.accumulate(statistics, gradients)

    def update_masks(
        self,
        weights: Tensors,
        masks: Tensors,
        statistics: Tensors,
        step: int,
        steps: int,
        seed: int,
    ) -> Tensors:
        return self.updater.update_masks(weights, masks, statistics, self.first, self.steps, seed)
