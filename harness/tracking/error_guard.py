"""A tracker that fails: said once, and the training goes on."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from harness.system.redaction import redacted


def print_error(what: str, error: BaseException) -> None:
    """what: beginning with the tracker's name."""
    reason = " ".join(redacted(str(error)).split()) or type(error).__name__
    print(f"{what}: {reason}", file=sys.stderr)


@dataclass
class ErrorGuard:
    """What one run sends to a tracker; the first of its failures is reported."""

    tracker: str
    reported: bool = False

    def __call__(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:
            if not self.reported:
                print_error(
                    f"{self.tracker} did not get all of this run (records.jsonl has it)", error
                )
            self.reported = True
