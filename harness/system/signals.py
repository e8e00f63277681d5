"""Defines signals that stop a run or a sweep, and the exit status then. No torch."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
# By name: where one is missing, harness.cli.platforms says that the system is not supported.
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

# 130 after Ctrl-C, as shells expect, else EX_TEMPFAIL of sysexits.h, "try again later", which no
# crash has.
INTERRUPTED, TRY_AGAIN = 130, 75

FINISH_S = 30  # time for a command whose work is done to end its worker processes

# Names a file to which a stopped command writes its exit status. torchrun turns every status of
# its workers into 1, and a job script must distinguish stopped from failed runs.
STOPPED = "HARNESS_STOPPED"


class Stopped(KeyboardInterrupt):
    """Reports a stop by a signal after the state is saved. Handlers of Exception do not catch it.

    >>> str(Stopped(signal.SIGTERM))
    'SIGTERM'
    """

    def __init__(self, number: int = signal.SIGINT):
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.status = INTERRUPTED if number == signal.SIGINT else TRY_AGAIN

    def __str__(self) -> str:
        return self.name

    @property
    def line(self) -> str:
        return f"{self.name}; the same command resumes where it stopped"

    def write_status(self) -> None:
        """Writes the status to the file that HARNESS_STOPPED names, if any."""
        if STOPPED in os.environ and is_rank_zero():
            try:
                Path(os.environ[STOPPED]).write_text(f"{self.status}\n")
            except OSError as error:
                os.write(2, f"harness: cannot write {STOPPED}: {error}\n".encode())


def stop_on_signals() -> None:
    """Makes such a signal raise Stopped in the main thread, as Ctrl-C does by itself.

    A running run handles signals itself; a sweep ends its worker processes.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)


def exit_on_signals() -> None:
    """Makes such a signal end the process at once, with one line on stderr and the status.

    Used while modules are imported, when there is nothing to save. An exception during an import
    may be swallowed, or end in an abort when C++ called Python.
    """
    for number in SIGNALS:
        signal.signal(number, _leave)


def finish_on_signals() -> None:
    """Makes such a signal limit the time that is left to a command whose work is done.

    Its exit status stays. Python still waits for worker processes then. A signal that a stopped
    rank ignores stays ignored: Python resets its own handlers at its exit, and the SIGTERM that
    torchrun sends to the remaining ranks would hide the status.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _finish)


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """Applies exit_on_signals() inside the context and restores the former handlers afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows no handlers there
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    exit_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_rank_zero() -> bool:
    """Returns True if this process prints for all ranks of its command: RANK is 0 or not set."""
    return os.environ.get("RANK", "0") == "0"


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _finish(number: int, frame: FrameType | None) -> None:
    signal.alarm(FINISH_S)  # which ends the process


def _leave(number: int, frame: FrameType | None) -> None:
    stopped = Stopped(number)
    stopped.write_status()
    if is_rank_zero():
        os.write(2, f"harness: {stopped.line}\n".encode())
    os._exit(stopped.status)
