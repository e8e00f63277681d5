"""Declares what a tracker gets about a run, and what a tracker must implement."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.run_folder.records import Record
from harness.run_folder.sinks import Sink


@dataclass(frozen=True)
class RunInfo:
    """Describes one run to a tracker."""

    id: str  # first 12 hex digits of the run's hash, as in its records
    folder: Path
    method: str
    label: str  # the method's name as papers write it: "Global Magnitude"
    setting: str  # hash of the config without seed and schedule.final: one line in a figure
    model: str
    data: str
    seed: int
    group: str  # name of the sweep
    job_type: str
    config: dict[str, Any]  # plain values; environment variables are not resolved
    sweep: Path  # folder of all runs of the group
    dense: Path  # cache of its dense training, named by the hash of its config
    earlier: tuple[Record, ...] = ()  # logged before the run was interrupted


class Tracking(Protocol):
    """Sends records to a tracker, beside records.jsonl. Only rank 0 opens it."""

    def open(self, info: RunInfo) -> AbstractContextManager[Sink]:
        """Opens a sink for the run's records.

        Leaving the context ends the tracker's run: finished, or failed if an exception passes.
        Errors of the tracker itself never reach the caller.
        """
