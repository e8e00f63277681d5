"""Saves a run inside a level's retraining."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.checkpoints import STEP, Checkpoints
from harness.training.journal import Journal
from harness.training.setting import LoopState

if TYPE_CHECKING:
    from harness.levels import Levels


@dataclass(frozen=True)
class LevelSaver:
    """Keeps a level's retraining in the run's checkpoints, after the replicas were compared."""

    levels: "Levels"
    level: int
    journal: Journal
    files: Checkpoints

    def due(self, step: int) -> bool:
        return self.journal.due(step)

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        self.levels.ranks.check_equal(self.levels.store.masks, "masks in force")
        self.journal.compare_weights(self.levels.network, epoch, step)
        name = f"level-{self.level:02d}-epoch-{epoch:05d}-step-{step:06d}"
        self.journal.save(self.files, name, STEP, self.levels.standing(state()))
