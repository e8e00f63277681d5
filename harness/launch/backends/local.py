"""Worker processes on this machine, one for each core or for each place on a GPU."""

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

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from harness.launch.backends.base import Engine, attempt_line, process_has_died
from harness.launch.backends.gpu_slots import Devices
from harness.launch.digests.data import readable
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import Cost
from harness.run_folder.outcome import Outcome
from harness.system.loaded_sources import watch
from harness.system.signals import SIGNALS, TRY_AGAIN
from harness.vocabulary.checks import check

Told = tuple[int, Outcome]
_warmed: list[Any] = []  # executors whose workers import while points are planned
LOST = "its worker process was killed (out of memory?)"
IDLE_S = 600.0  # after which a worker process leaves
SAVING_S = 30.0  # that a run which is told to stop may take
LOOK_S = 0.3  # between two looks of a worker for its parent


@dataclass(frozen=True)
class Workers(Engine):
    """n_jobs: worker processes; -1: as many as there are places on devices, or cores."""

    n_jobs: int
    devices: Devices

    in_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.n_jobs != -1:
            check("hydra.launcher.n_jobs", self.n_jobs, "a whole number >= 1 or -1")
        places = self.devices.places
        if places and self.n_jobs > places:
            raise ValueError(
                f"hydra.launcher.n_jobs={self.n_jobs}, but devices {', '.join(self.devices.names)} "
                f"have places for {places}; raise launch.runs_per_gpu or write n_jobs=-1"
            )

    def workers(self) -> int:
        return self.n_jobs if self.n_jobs > 0 else self.devices.places or cpu_count()

    def warm(self, points: int) -> None:
        count = min(self.workers(), points)
        with _held_signals():
            _warmed.append(_executor(count))
            for _ in range(count):
                _warmed[-1].submit(_prepare, os.getpid())

    def gauge(self, line: str, points: int) -> Cost | None:
        found: Cost | None = self._ask(points, _gauged, line, self.devices, os.getpid())
        return found

    def digest(self, line: str, points: int) -> str | None:
        found: str | None = self._ask(points, _read, line, os.getpid())
        return found

    def _ask(self, points: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a worker's call returns; None if it dies."""
        executor: Any = None
        try:
            with _held_signals():
                executor = _executor(min(self.workers(), points))
                job = executor.submit(function, *arguments)
            return job.result()
        except TerminatedWorkerError:
            return None
        except BaseException:
            _end(executor)
            raise

    def close(self) -> None:
        for executor in _warmed:
            executor.shutdown(wait=False, kill_workers=True)

    def outcomes(self, lines: Sequence[str]) -> Generator[Told, None, None]:
        left = dict(enumerate(lines))
        while left:
            try:
                for number, outcome in self._together(left):
                    del left[number]
                    yield number, outcome
            except TerminatedWorkerError:
                # All workers go with the one that died. Alone a point shows whether it was its own.
                dead = [number for number, line in left.items() if process_has_died(line)]
                for number in dead or list(left)[:1]:
                    yield self._alone(number, left.pop(number))

    def _together(self, left: Mapping[int, str]) -> Iterator[Told]:
        executor: Any = None
        jobs: list[Future[Told]] = []
        try:
            with _held_signals():
                executor = _executor(min(self.workers(), len(left)))
                for number, line in left.items():
                    jobs.append(executor.submit(_told, number, line, self.devices, os.getpid()))
            for job in as_completed(jobs):
                yield job.result()
        except TerminatedWorkerError:
            raise
        except BaseException:
            for job in jobs:
                job.cancel()
            _end(executor)
            raise

    def _alone(self, number: int, line: str) -> Told:
        try:
            (told,) = self._together({number: line})
            return told
        except TerminatedWorkerError:
            folder = str(RunSpec.from_json(line).folder)
            return number, Outcome("failed", folder, LOST, retryable=True)


def _executor(workers: int) -> Any:
    return get_reusable_executor(
        max_workers=workers,
        timeout=IDLE_S,
        initializer=_begin,
        env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )


@contextmanager
def _held_signals() -> Iterator[None]:
    """They come at the end of it; in processes that are started inside, when they are ready."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows no handlers there
        return
    caught: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, _: caught.append(number))
    # Handlers are not passed on to a process, blocked signals are; other threads still take them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


def _begin() -> None:
    """In a new worker. Outside runs, which save themselves, a signal ends it without a word: the
    parent speaks."""
    for number in SIGNALS:
        signal.signal(number, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(TRY_AGAIN)


def _prepare(parent: int) -> None:
    _follow(parent)
    watch()
    with suppress(Exception):  # comes again where it is told
        import harness.launch.execute  # noqa: F401


def _gauged(line: str, devices: Devices, parent: int) -> Cost | None:
    with suppress(Exception):  # the run itself will say what is wrong
        _prepare(parent)
        devices.take()  # before torch sees others: this worker carries out runs later
        from harness.launch.execute import benchmark_run

        return benchmark_run(RunSpec.from_json(line))
    return None


def _read(line: str, parent: int) -> str | None:
    _prepare(parent)
    return readable(RunSpec.from_json(line))


def _told(number: int, line: str, devices: Devices, parent: int) -> Told:
    try:
        _prepare(parent)
        devices.take()
        told = number, attempt_line(line)
        _settle()
        return told
    except KeyboardInterrupt:
        # The run has saved itself. This process must not begin with the next point.
        os._exit(TRY_AGAIN)


@cache
def _settle() -> None:
    """What a first point has imported stays: else every point waits for the garbage collector to
    look through it, a fifth of a tiny one's time."""
    gc.collect()
    gc.freeze()


@cache
def _follow(parent: int) -> None:
    """A sweep that is killed cannot tell its workers to stop; they see it themselves."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAVING_S)
        os._exit(TRY_AGAIN)

    threading.Thread(target=look, daemon=True).start()


def _end(executor: Any) -> None:
    """Lets the runs that are under way save themselves; a second signal does not wait for them."""
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
