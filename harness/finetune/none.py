from dataclasses import dataclass

from harness.finetune.base import Finetune


@dataclass(frozen=True)
class NoFinetune(Finetune):
    """No retraining: the network stays as pruning left it, and the next level prunes on."""

    def plan(self, epochs: int, speedup: float) -> None:
        return None
