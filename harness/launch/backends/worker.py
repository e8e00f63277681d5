"""Does what a worker process of this machine is asked for: runs, and what precedes them."""

import gc
import os
import signal
import threading
import time
from contextlib import suppress
from functools import cache
from types import FrameType

from harness.launch.backends.base import Verdict, try_execute_line
from harness.launch.backends.gpu_slots import Devices
from harness.launch.digests.data import digest_if_readable
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import RunCost
from harness.run_folder.outcome import Outcome
from harness.system.loaded_sources import watch_imports
from harness.system.signals import SIGNALS, TRY_AGAIN

NumberedOutcome = tuple[int, Outcome]
SAVING_S = 30.0  # time for a stopped run to save its checkpoint
PARENT_POLL_S = 0.3  # between two checks of a worker that its parent is alive


def initialize() -> None:
    """Makes a signal between runs end the worker silently; the parent prints the message."""
    for number in SIGNALS:
        signal.signal(number, _exit_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(TRY_AGAIN)


def prepare(parent: int) -> None:
    _exit_with_parent(parent)
    watch_imports()
    with suppress(Exception):  # the run itself raises the error again and reports it
        import harness.launch.execute  # noqa: F401


def benchmark(line: str, devices: Devices, parent: int) -> RunCost | None:
    with suppress(Exception):  # the run itself reports the error
        prepare(parent)
        devices.acquire()  # before torch sees other devices: this worker executes runs later
        from harness.launch.benchmark import benchmark_run

        return benchmark_run(RunSpec.from_json(line))
    return None


def digest(line: str, parent: int) -> str | None:
    prepare(parent)
    return digest_if_readable(RunSpec.from_json(line))


def rehearse(line: str, devices: Devices, parent: int) -> Verdict | None:
    with suppress(Exception):  # the run itself reports the error
        prepare(parent)
        devices.acquire()
        from harness.launch.rehearse import rehearse_run

        return rehearse_run(RunSpec.from_json(line))
    return None


def execute(number: int, line: str, devices: Devices, parent: int) -> NumberedOutcome:
    try:
        prepare(parent)
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
