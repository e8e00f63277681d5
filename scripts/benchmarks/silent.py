"""Follows runs of the benchmarks without any output."""

from harness.run_folder.records import Identity, Record
from harness.task.shared.measures import TOP1, Measure

ME = Identity("run", "setting", "method", "label", "model", "data")


class Silent:
    """Follows a run without any output."""

    def begin(self, levels: int, epochs: int) -> None: ...

    def log(self, record: Record) -> None: ...

    def epoch(
        self,
        level: int,
        epoch: int,
        epochs: int,
        loss: float,
        value: float,
        measure: Measure = TOP1,
    ) -> None: ...

    def replay(
        self, level: int, losses: list[float], values: list[float], measure: Measure = TOP1
    ) -> None: ...

    def log_timing(self, **facts: object) -> None: ...
