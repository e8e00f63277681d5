"""Catches the errors of a tracker: the first is reported, and the training continues."""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from harness.system.redaction import redact


def print_error(message: str, error: BaseException) -> None:
    """Prints a warning of message and error on stderr in one line, without secrets.

    message: begins with the tracker's name.
    """
    reason = " ".join(redact(str(error)).split()) or type(error).__name__
    print(f"warning: {message}: {reason}", file=sys.stderr)


def call_within(seconds: float, send: Callable[[], object]) -> None:
    """Calls a function that asks a server, in a thread, and waits no longer than this.

    Raises:
        TimeoutError: the server did not answer; the thread is left waiting.
        Exception: what the function raised.
    """
    errors: list[Exception] = []

    def call() -> None:
        try:
            send()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if thread.is_alive():
        raise TimeoutError(f"the server did not answer within {seconds:g} s")
    for error in errors:
        raise error


@dataclass
class ErrorGuard:
    """Calls a tracker for one run, and reports the first of its errors."""

    tracker: str
    reported: bool = False

    def __call__(self, send: Callable[[], object]) -> Exception | None:
        """Returns the error, if there was one."""
        try:
            send()
        except Exception as error:
            if not self.reported:
                message = f"{self.tracker} lacks data of this run (records.jsonl is complete)"
                print_error(message, error)
            self.reported = True
            return error
        return None
