"""Shares the error and output handling of the small commands."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from harness.system.names import printable
from harness.system.signals import INTERRUPTED


class Parser(argparse.ArgumentParser):
    """Prints errors in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"harness: {printable(message)}\n")


def run_command(work: Callable[[], int], also: type[Exception] = OSError) -> int:
    """Returns the exit status of `work`; an expected error is printed in one line.

    The status is 2 for a ValueError (wrong input), 1 for an OSError and for errors of type `also`,
    and 130 after Ctrl-C.
    """
    try:
        return work()
    except (ValueError, OSError, also) as error:
        print(f"harness: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        return INTERRUPTED


def print_text(text: str) -> None:
    """Prints to stdout; does nothing if the reader of a pipe has closed it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discards later output after the reader (such as head) has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
