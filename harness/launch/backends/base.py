"""What hands points to processes: worker processes of this machine, or jobs of a cluster."""

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import ClassVar, Protocol

from harness.launch.digests.data import read_aside
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import Cost
from harness.run_folder.outcome import Outcome
from harness.run_folder.status_file import Status, is_alive


class Engine(Protocol):
    """in_order: points begin in the order in which they are given, as workers come free."""

    in_order: ClassVar[bool]

    def workers(self) -> int:
        """How many points are under way at once."""

    def warm(self, points: int) -> None:
        """Starts what takes long to start, on the side, while so many points are planned."""
        return None

    def gauge(self, line: str, points: int) -> Cost | None:
        """What the point of this line, one of so many, would cost, measured; None if nobody
        knows."""
        return None

    def digest(self, line: str, points: int) -> str | None:
        """Of the data of this line's point, one of so many, which are read; None if they cannot
        be."""
        return read_aside(line)

    def close(self) -> None:
        """Ends what `warm` has started, for no point will come."""
        return None

    def outcomes(self, lines: Sequence[str]) -> Generator[tuple[int, Outcome], None, None]:
        """(number of the point, what became of it), as they end; lines are those of RunSpec.

        A process that dies is a failed outcome too. Whoever closes it ends what is under way.

        Raises:
            ValueError: the engine cannot do it, before the first point begins.
            Stopped, KeyboardInterrupt: a signal came; what was under way has been told to stop.
        """


def attempt_line(line: str) -> Outcome:
    """In a worker process: one point, without a word on the terminal."""
    from dataclasses import replace

    from harness.launch.execute_lazy import try_execute

    point = RunSpec.from_json(line)
    return try_execute(replace(point, config={**point.config, "progress": "none"}))


def process_has_died(line: str) -> bool:
    """Whether the process that was at this point is no more."""
    with suppress(ValueError):
        status = Status(RunSpec.from_json(line).folder, "").read()
        return status.get("state") == "running" and not is_alive(status)
    return False
