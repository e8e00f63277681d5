"""Implements tracking=none: records.jsonl is all that a run leaves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.run_folder.records import Record
from harness.run_folder.sinks import Sink
from harness.task.shared.measures import TOP1, Measure
from harness.tracking.base import RunInfo


class NullSink:
    """Drops everything that is logged."""

    def log(self, record: Record) -> None: ...

    def epoch(
        self, level: int, epoch: int, loss: float, value: float, measure: Measure = TOP1
    ) -> None: ...

    def latency(self, event: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class NoTracking:
    """Opens a sink that drops everything."""

    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        yield NullSink()
