"""Who runs that nobody follows."""

from harness.run_folder.records import Identity, Record

ME = Identity("run", "setting", "method", "label", "model", "data")


class Silent:
    """Follows a run and says nothing."""

    def begin(self, levels: int, epochs: int) -> None:
        pass

    def log(self, record: Record) -> None:
        pass

    def epoch(self, level: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        pass

    def found(self, level: int, losses: list[float], accuracies: list[float]) -> None:
        pass

    def note(self, **facts: object) -> None:
        pass
