"""Executes runs in worker processes of this machine, one per core or per GPU slot."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any, ClassVar

from harness.launch.backends.base import Backend, process_has_died, try_execute_line
from harness.launch.backends.gpu_slots import Devices
from harness.launch.digests.data import digest_if_readable
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import RunCost
from harness.run_folder.outcome import Outcome
from harness.system.hardware import core_count
from harness.system.loaded_sources import watch_imports
from harness.system.signals import SIGNALS, TRY_AGAIN
from harness.vocabulary.checks import check

NumberedOutcome = tuple[int, Outcome]
_prestarted: list[Any] = []  # executors whose workers import while runs are planned
LOST = "its worker process was killed (out of memory?)"
IDLE_S = 600.0  # after this time without a run a worker process exits
SAVING_S = 30.0  # time for a stopped run to save its checkpoint
PARENT_POLL_S = 0.3  # between two checks of a worker that its parent is alive


@dataclass(frozen=True)
class LocalBackend(Backend):
    """Executes runs in worker processes (loky).

    n_jobs: worker processes; -1: as many as there are slots on devices, or cores without devices.
    """

    n_jobs: int
    devices: Devices

    in_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.n_jobs != -1:
            check("hydra.launcher.n_jobs", self.n_jobs, "a whole number >= 1 or -1")
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
                _prestarted[-1].submit(_prepare_worker, os.getpid())

    def benchmark(self, line: str, runs: int) -> RunCost | None:
        cost: RunCost | None = self._call(runs, _benchmark, line, self.devices, os.getpid())
        return cost

    def digest(self, line: str, runs: int) -> str | None:
        digest: str | None = self._call(runs, _digest, line, os.getpid())
        return digest

    def _call(self, runs: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls the function in a worker and returns its result; None if the worker dies."""
        executor: Any = None
        try:
            with _deferred_signals():
                executor = _executor(min(self.workers(), runs))
                job = executor.submit(function, *arguments)
            return job.result()
        except _loky().process_executor.TerminatedWorkerError:
            return None
        except BaseException:
            _terminate(executor)
            raise

    def close(self) -> None:
        for executor in _prestarted:
            executor.shutdown(wait=False, kill_workers=True)

    def run(self, lines: Sequence[str]) -> Generator[NumberedOutcome, None, None]:
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

    def _run_together(self, left: Mapping[int, str]) -> Iterator[NumberedOutcome]:
        executor: Any = None
        jobs: list[Future[NumberedOutcome]] = []
        try:
            with _deferred_signals():
                executor = _executor(min(self.workers(), len(left)))
                for number, line in left.items():
                    jobs.append(executor.submit(_execute, number, line, self.devices, os.getpid()))
            for job in as_completed(jobs):
                yield job.result()
        except _loky().process_executor.TerminatedWorkerError:
            raise
        except BaseException:
            for job in jobs:
                job.cancel()
            _terminate(executor)
            raise

    def _run_alone(self, number: int, line: str) -> NumberedOutcome:
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
    return _loky().get_reusable_executor(
        max_workers=workers,
        timeout=IDLE_S,
        initializer=_initialize_worker,
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


def _initialize_worker() -> None:
    """Makes a signal between runs end the worker silently; the parent prints the message."""
    for number in SIGNALS:
        signal.signal(number, _exit_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(TRY_AGAIN)


def _prepare_worker(parent: int) -> None:
    _exit_with_parent(parent)
    watch_imports()
    with suppress(Exception):  # the run itself raises the error again and reports it
        import harness.launch.execute  # noqa: F401


def _benchmark(line: str, devices: Devices, parent: int) -> RunCost | None:
    with suppress(Exception):  # the run itself reports the error
        _prepare_worker(parent)
        devices.acquire()  # before torch sees other devices: this worker executes runs later
        from harness.launch.execute import benchmark_run

        return benchmark_run(RunSpec.from_json(line))
    return None


def _digest(line: str, parent: int) -> str | None:
    _prepare_worker(parent)
    return digest_if_readable(RunSpec.from_json(line))


def _execute(number: int, line: str, devices: Devices, parent: int) -> NumberedOutcome:
    try:
        _prepare_worker(parent)
        devices.acquire()
        result = number, try_execute_line(line)
        _freeze_imports()
        return result
    except KeyboardInterrupt:
        # The run has saved a checkpoint. This process must not begin with the next run.
        os._exit(TRY_AGAIN)


@cache
def _freeze_imports() -> None:
    """Excludes imported objects from garbage collection: a fifth of a tiny run's time."""
    gc.collect()
    gc.freeze()


@cache
def _exit_with_parent(parent: int) -> None:
    """Starts a thread that ends this worker when its parent has died, e.g. by SIGKILL."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAVING_S)
        os._exit(TRY_AGAIN)

    threading.Thread(target=look, daemon=True).start()


def _terminate(executor: Any) -> None:
    """Stops active runs and waits for their checkpoints; a second signal ends the wait."""
    processes = list((getattr(executor, "_processes", None) or {}).values())
    try:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + SAVING_S
        while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)
