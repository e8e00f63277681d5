"""Defines the interface of backends, which execute the runs of a sweep."""

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from harness.launch.digests.data import digest_in_subprocess
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import RunCost
from harness.run_folder.outcome import Outcome
from harness.run_folder.status_file import Status, is_alive


@dataclass(frozen=True)
class Verdict:
    """Holds what a rehearsal has found.

    parts: equal for runs of equal parts in such a process; "" if they are refused or skipped.
    refused: why a run of these parts cannot be executed, or "".
    skipped: why nothing was rehearsed, or "".
    messages: log messages of a run of these parts, such as what its weights were unwrapped from.
    """

    parts: str = ""
    refused: str = ""
    skipped: str = ""
    messages: tuple[str, ...] = ()


class Backend(Protocol):
    """Executes runs in worker processes of this machine or in jobs of a cluster.

    in_order: runs begin in the order in which they are given, as soon as a worker is free.
    """

    in_order: ClassVar[bool]

    def workers(self) -> int:
        """Returns how many runs are executed at once."""

    def prestart(self, runs: int) -> None:
        """Starts workers in the background while this many runs are planned."""
        return None

    def benchmark(self, line: str, runs: int) -> RunCost | None:
        """Measures the cost of one of `runs` runs; None if the backend cannot measure it."""
        return None

    def rehearse(self, lines: Sequence[str], runs: int) -> list[Verdict | None]:
        """Rehearses these of `runs` runs; None for those that rehearse when they begin."""
        return [None] * len(lines)

    def digest(self, line: str, runs: int) -> str | None:
        """Returns the digest of a run's data, which are read; None if they cannot be read."""
        return digest_in_subprocess(line)

    def close(self) -> None:
        """Ends the workers that `prestart` has started; called if no run follows."""
        return None

    def run(self, lines: Sequence[str]) -> Generator[tuple[int, Outcome], None, None]:
        """Yields (index of the run, its outcome) as runs end.

        A process that dies counts as a failed run. Closing the generator stops all active runs.

        lines: runs as JSON.

        Raises:
            ValueError: the backend cannot execute the runs; raised before the first one begins.
            Stopped, KeyboardInterrupt: a signal came. Active runs have received a signal.
        """


def try_execute_line(line: str) -> Outcome:
    """Executes one run in a worker process, without progress output."""
    from harness.launch.execute_lazy import try_execute

    spec = RunSpec.from_json(line)
    return try_execute(replace(spec, config={**spec.config, "progress": "none"}))


def process_has_died(line: str) -> bool:
    """True if the process that executed this run has ended without a final status."""
    with suppress(ValueError):
        status = Status(RunSpec.from_json(line).folder, "").read()
        return status.get("state") == "running" and not is_alive(status)
    return False
