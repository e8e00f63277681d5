"""No tracking: records.jsonl alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.records import Record, Sink
from harness.tracking.base import RunInfo


class Silent:
    """A sink that drops every record."""

    def log(self, record: Record) -> None:
        pass


@dataclass(frozen=True)
class NoTracking:
    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        yield Silent()
