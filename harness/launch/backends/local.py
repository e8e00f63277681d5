"""Executes runs in worker processes of this machine, one per core or per GPU slot."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from harness.launch.backends import worker
from harness.launch.backends.base import Backend, Verdict, process_has_died
from harness.launch.backends.gpu_slots import Devices
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import RunCost
from harness.run_folder.outcome import Outcome
from harness.system.hardware import core_count
from harness.system.signals import SIGNALS
from harness.vocabulary.checks import check_declared

_prestarted: list[Any] = []  # executors whose workers import while runs are planned
LOST = "its worker process was killed (out of memory?)"
GROWN = "A worker stopped while some jobs were given to the executor"
IDLE_S = 600.0  # after this time without a run a worker process exits


@dataclass(frozen=True)
class LocalBackend(Backend):
    """Executes runs in worker processes (loky).

    n_jobs: worker processes; -1: as many as there are slots on devices, or cores without devices.
    """

    n_jobs: Annotated[int, "a whole number in [1, 1024]"] | Literal[-1]
    devices: Devices

    in_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self, "hydra.launcher.")
        slots = self.devices.slots
        if slots and self.n_jobs > slots:
            raise ValueError(
                f"hydra.launcher.n_jobs={self.n_jobs}, but devices {', '.join(self.devices.names)} "
                f"have {slots} slots; raise launch.runs_per_gpu or write n_jobs=-1"
            )

    def workers(self) -> int:
        return self.n_jobs if self.n_jobs > 0 else self.devices.slots or core_count()

    def prestart(self, runs: int) -> None:
        count = min(self.workers(), runs)
        with _deferred_signals():
            _prestarted.append(_executor(count))
            for _ in range(count):
                _prestarted[-1].submit(worker.prepare, os.getpid())

    def benchmark(self, line: str, runs: int) -> RunCost | None:
        cost: RunCost | None = self._call(runs, worker.benchmark, line, self.devices, os.getpid())
        return cost

    def digest(self, line: str, runs: int) -> str | None:
        digest: str | None = self._call(runs, worker.digest, line, os.getpid())
        return digest

    def rehearse(self, lines: Sequence[str], runs: int) -> list[Verdict | None]:
        every = [(line, self.devices, os.getpid()) for line in lines]
        return self._call_each(runs, worker.rehearse, every)

    def _call(self, runs: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls the function in a worker and returns its result; None if the worker dies."""
        return self._call_each(runs, function, [arguments])[0]

    def _call_each(
        self, runs: int, function: Callable[..., Any], every: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """Returns the results of calls in workers; None for all of them if a worker dies."""
        executor: Any = None
        try:
            with _deferred_signals():
                executor = _executor(min(self.workers(), runs))
                jobs = [executor.submit(function, *arguments) for arguments in every]
            return [job.result() for job in jobs]
        except _loky().process_executor.TerminatedWorkerError:
            return [None] * len(every)
        except BaseException:
            _terminate(executor)
            raise

    def close(self) -> None:
        for executor in _prestarted:
            executor.shutdown(wait=False, kill_workers=True)

    def run(self, lines: Sequence[str]) -> Generator[worker.NumberedOutcome, None, None]:
        left = dict(enumerate(lines))
        while left:
            try:
                for number, outcome in self._run_together(left):
                    del left[number]
                    yield number, outcome
            except _loky().process_executor.TerminatedWorkerError:
                # loky ends all workers with the one that died. Each suspect run is repeated
                # alone, which shows whether it kills its worker.
                dead = [number for number, line in left.items() if process_has_died(line)]
                for number in dead or list(left)[:1]:
                    yield self._run_alone(number, left.pop(number))

    def _run_together(self, left: Mapping[int, str]) -> Iterator[worker.NumberedOutcome]:
        executor: Any = None
        jobs: list[Future[worker.NumberedOutcome]] = []
        try:
            with _deferred_signals():
                executor = _executor(min(self.workers(), len(left)))
                for number, line in left.items():
                    jobs.append(
                        executor.submit(worker.execute, number, line, self.devices, os.getpid())
                    )
            for job in as_completed(jobs):
                yield job.result()
        except _loky().process_executor.TerminatedWorkerError:
            raise
        except BaseException:
            for job in jobs:
                job.cancel()
            _terminate(executor)
            raise

    def _run_alone(self, number: int, line: str) -> worker.NumberedOutcome:
        try:
            (result,) = self._run_together({number: line})
            return result
        except _loky().process_executor.TerminatedWorkerError:
            folder = str(RunSpec.from_json(line).folder)
            return number, Outcome("failed", folder, LOST, retryable=True)


def _loky() -> Any:
    from joblib.externals import loky

    return loky


def _executor(workers: int) -> Any:
    # loky puts a new worker in the place of one that grew by 300 MB, as torch lets any, and warns.
    warnings.filterwarnings("ignore", GROWN, UserWarning)
    return _loky().get_reusable_executor(
        max_workers=workers,
        timeout=IDLE_S,
        initializer=worker.initialize,
        env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defers signals to the end of the block; processes that it starts block them at first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets handlers in the main thread only
        return
    caught: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, _: caught.append(number))
    # A child process inherits blocked signals, but no handlers. Other threads still take signals.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


def _terminate(executor: Any) -> None:
    """Stops active runs and waits for their checkpoints; a second signal ends the wait."""
    processes = list((getattr(executor, "_processes", None) or {}).values())
    try:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + worker.SAVING_S
        while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)
