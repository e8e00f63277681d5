"""Runs `pruning-harness`, which sends itself a signal while it imports a module.

    python tests/helpers/signalled_import.py MODULE SIGNAL [OVERRIDE ...]

Like some packages, the importer then ignores every exception.
"""

import contextlib
import os
import runpy
import signal
import sys


class Signalling:
    """Searches modules and finds none."""

    def __init__(self, module: str, number: int):
        self.module, self.number = module, number

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.module:
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), self.number)


def main() -> None:
    _, module, name, *overrides = sys.argv
    sys.meta_path.insert(0, Signalling(module, signal.Signals[name]))
    sys.argv = ["harness", *overrides]
    runpy.run_module("harness", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
