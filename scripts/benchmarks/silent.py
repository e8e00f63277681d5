"""Follows runs of the benchmarks without any output."""

from harness.run_folder.records import Identity, Record

ME = Identity("run", "setting", "method", "label", "model", "data")


class Silent:
    """Follows a run without any output."""

    def begin(self, levels: int, epochs: int) -> None: ...

    def log(self, record: Record) -> None: ...

    def epoch(self, level: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None: ...

    def replay(self, level: int, losses: list[float], accuracies: list[float]) -> None: ...

    def log_timing(self, **facts: object) -> None: ...
