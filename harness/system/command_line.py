"""What the small commands of the harness have in common: errors in one line, readers that leave."""

import argparse
import os
import sys
from typing import NoReturn

from harness.system.names import visible


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and ends with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {visible(message)}\n")


def say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        unheard()


def unheard() -> None:
    """Whoever read the output has enough, as head: what is printed from now on goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
