"""Who runs that nobody follows."""

from harness.records import Identity, Record

ME = Identity("run", "setting", "method", "label", "model", "data")


class Silent:
    """Follows a run and says nothing."""

    follows_epochs = False

    def begin(self, levels: int, epochs: int) -> None:
        pass

    def log(self, record: Record) -> None:
        pass

    def epoch(self, level: int, epoch: int, epochs: int, accuracy: float | None) -> None:
        pass
