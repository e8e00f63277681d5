"""Catches the errors of a tracker: the first is reported, and the training continues."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from harness.system.redaction import redact


def print_error(message: str, error: BaseException) -> None:
    """Prints a warning of message and error on stderr in one line, without secrets.

    message: begins with the tracker's name.
    """
    reason = " ".join(redact(str(error)).split()) or type(error).__name__
    print(f"warning: {message}: {reason}", file=sys.stderr)


@dataclass
class ErrorGuard:
    """Calls a tracker for one run, and reports the first of its errors."""

    tracker: str
    reported: bool = False

    def __call__(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:
            if not self.reported:
                message = f"{self.tracker} lacks data of this run (records.jsonl is complete)"
                print_error(message, error)
            self.reported = True
