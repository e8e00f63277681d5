"""What a tracker gets about a run, and what it must offer."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.run_folder.records import Record
from harness.run_folder.sinks import Sink


@dataclass(frozen=True)
class RunInfo:
    id: str  # first 12 hex digits of the run's hash, as in its records
    folder: Path
    method: str
    label: str  # as the field writes the method: "Global Magnitude"
    setting: str  # hash of the config without seed and end point: one line in a figure
    model: str
    data: str
    seed: int
    group: str  # name of the sweep
    job_type: str
    config: dict[str, Any]  # plain values, environment variables as they are written
    sweep: Path  # folder of all runs of the group
    dense: Path  # cache of its dense training, named by the hash of what decides it
    earlier: tuple[Record, ...] = ()  # what an interrupted start of the run has logged


class Tracking(Protocol):
    """Shows records somewhere else than in records.jsonl; only rank 0 opens it."""

    def open(self, info: RunInfo) -> AbstractContextManager[Sink]:
        """A sink for the run's records; leaving it ends the run there: done, or failed if an
        exception passes. The tracker's own troubles never reach the caller."""
