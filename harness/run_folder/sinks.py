"""What follows a run: takers of its records and of its epochs as they end."""

from typing import Protocol

from harness.run_folder.records import Record


class Sink(Protocol):
    """Takes the same records as records.jsonl: W&B, a progress bar; and epochs as they end."""

    def log(self, record: Record) -> None: ...

    def epoch(self, level: int, epoch: int, loss: float, accuracy: float) -> None:
        """The epoch-th of a level's training ended, counted from 1.

        loss: its mean per sample as it was minimised; accuracy: validation top-1 in [0, 1].
        """


class RunSink(Protocol):
    """Whatever follows a run: its files, W&B, the progress bar. Rank 0's alone does anything."""

    def begin(self, levels: int, epochs: int) -> None:
        """Levels after level 0, and the epochs of all levels that are still to be trained."""

    def log(self, record: Record) -> None: ...

    def epoch(self, level: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """As of Sink; epochs: of this training."""

    def replay(self, level: int, losses: list[float], accuracies: list[float]) -> None:
        """A training's epochs that another run has made."""

    def log_timing(self, **facts: object) -> None:
        """What no record may hold, because a clock decides it."""
