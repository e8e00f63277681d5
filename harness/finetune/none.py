from dataclasses import dataclass

from harness.finetune.base import Finetune


@dataclass(frozen=True)
class NoFinetune(Finetune):
    """weights = the remaining ones, without retraining: the next level prunes on."""

    def plan(self, epochs: int, speedup: float) -> None:
        return None
