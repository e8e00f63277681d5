"""Follows a run without any output, and names the run."""

from harness.run_folder.records import Identity, Record
from harness.task.shared.measures import TOP1, Measure

ME = Identity("run", "setting", "method", "label", "mlp", "blobs")


class Silent:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def begin(self, levels: int, epochs: int) -> None: ...

    def log(self, record: Record) -> None:
        self.records.append(record)

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
