"""What the small commands of the harness have in common: errors in one line, readers that leave."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from harness.system.names import visible
from harness.system.signals import INTERRUPTED


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and ends with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {visible(message)}\n")


def run_command(work: Callable[[], int], also: type[Exception] = OSError) -> int:
    """Does the work of a command and returns its exit status; an error is said in one line.

    2 for wrong input, a ValueError; 1 for an OSError and what else is named; 130 after Ctrl-C.
    """
    try:
        return work()
    except (ValueError, OSError, also) as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        return INTERRUPTED


def print_text(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Whoever read the output has enough, as head: what is printed from now on goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
