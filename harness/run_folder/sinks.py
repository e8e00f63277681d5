"""Defines the interfaces of sinks, which receive the records and epochs of a run."""

from collections.abc import Mapping
from typing import Any, Protocol

from harness.run_folder.records import Record
from harness.task.shared.measures import TOP1, Measure

# Fields of an event of latency that must be equal for two measurements to be compared.
LATENCY_CONDITIONS = (
    *("batch_size", "runtime", "dtype", "threads"),
    *("device", "torch", "onnxruntime"),
)


class Sink(Protocol):
    """Receives the records of records.jsonl, and epochs as they end."""

    def log(self, record: Record) -> None: ...

    def epoch(
        self, level: int, epoch: int, loss: float, value: float, measure: Measure = TOP1
    ) -> None:
        """Receives the result of an epoch of a level's training.

        epoch: counted from 1. loss: mean per sample, as minimised. value: of the primary measure
        on validation data.
        """

    def latency(self, event: Mapping[str, Any]) -> None:
        """Receives a measurement of the newest record's model, as timings.jsonl holds it."""


class RunSink(Protocol):
    """Receives all events of a run; does nothing above rank 0."""

    def begin(self, levels: int, epochs: int) -> None:
        """Receives the number of levels after level 0 and of all epochs that are left."""

    def log(self, record: Record) -> None: ...

    def epoch(
        self,
        level: int,
        epoch: int,
        epochs: int,
        loss: float,
        value: float,
        measure: Measure = TOP1,
    ) -> None:
        """Receives an epoch as Sink.epoch does; epochs: of this training."""

    def replay(
        self, level: int, losses: list[float], values: list[float], measure: Measure = TOP1
    ) -> None:
        """Shows the epochs of a training that another run has computed."""

    def log_timing(self, **facts: object) -> None:
        """Receives facts that depend on a clock, which no record may hold."""
