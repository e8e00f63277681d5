"""Worker processes on this machine, one for each core or for each place on a GPU."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any, ClassVar

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from harness.launch.devices import Devices
from harness.launch.engine import attempt_line
from harness.launch.point import Point
from harness.launch.start import import_work
from harness.outcome import Outcome
from harness.status import Status, lives
from harness.stopping import TRY_AGAIN

Told = tuple[int, Outcome]
LOST = "its worker process was killed (out of memory?)"
IDLE_S = 600.0  # after which a worker process leaves
SAVING_S = 30.0  # that a run which is told to stop may take


@dataclass(frozen=True)
class Workers:
    """n_jobs: worker processes; -1: as many as there are places on devices, or cores."""

    n_jobs: int
    devices: Devices

    in_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if type(self.n_jobs) is not int or not (self.n_jobs == -1 or self.n_jobs >= 1):
            raise ValueError(
                f"hydra.launcher.n_jobs must be a whole number >= 1 or -1, got {self.n_jobs!r}"
            )

    def workers(self) -> int:
        return self.n_jobs if self.n_jobs > 0 else self.devices.places or cpu_count()

    def warm(self, points: int) -> None:
        count = min(self.workers(), points)
        executor = _executor(count)
        for _ in range(count):
            executor.submit(import_work)

    def close(self) -> None:
        _executor(1).shutdown(wait=False, kill_workers=True)

    def outcomes(self, lines: Sequence[str]) -> Iterator[Told]:
        left = dict(enumerate(lines))
        while left:
            try:
                for number, outcome in self._together(left):
                    del left[number]
                    yield number, outcome
            except TerminatedWorkerError:
                # All workers go with the one that died. Alone a point shows whether it was its own.
                dead = [number for number, line in left.items() if _died(line)]
                for number in dead or list(left)[:1]:
                    yield number, self._alone(left.pop(number))

    def _together(self, left: dict[int, str]) -> Iterator[Told]:
        executor = _executor(min(self.workers(), len(left)))
        jobs = [executor.submit(_told, n, line, self.devices) for n, line in left.items()]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except (KeyboardInterrupt, GeneratorExit):
            for job in jobs:
                job.cancel()
            _end(executor)
            raise

    def _alone(self, line: str) -> Outcome:
        try:
            told: Told = _executor(1).submit(_told, 0, line, self.devices).result()
        except TerminatedWorkerError:
            return Outcome("failed", str(Point.of_line(line).folder), LOST, again=True)
        return told[1]


def _executor(workers: int) -> Any:
    return get_reusable_executor(
        max_workers=workers, timeout=IDLE_S, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    )


def _told(number: int, line: str, devices: Devices) -> Told:
    try:
        devices.take()
        return number, attempt_line(line)
    except KeyboardInterrupt:
        # The run has saved itself. This process must not begin with the next point.
        os._exit(TRY_AGAIN)


def _died(line: str) -> bool:
    """Whether the process that was at this point is no more."""
    status = Status(Point.of_line(line).folder, "").read()
    return status.get("state") == "running" and not lives(status)


def _end(executor: Any) -> None:
    """Lets the runs that are under way save themselves."""
    processes = list((executor._processes or {}).values())
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + SAVING_S
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    executor.shutdown(wait=False, kill_workers=True)
