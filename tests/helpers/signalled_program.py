"""Runs the command line, which sends itself signals: signalled_program.py PLAN -- ARGUMENTS.

PLAN: RANK:STEP:SIGNAL, e.g. 1:7:SIGKILL: rank 1 gets the signal before its 7th optimizer step,
once. Steps count from 1 in every process, without its rehearsal; after a restart by the launcher
there is no signal.
"""

import os
import signal
import sys
from typing import Any

from harness.cli.main import main
from harness.training.loop import Loop


def plan(rank: int, step: int, name: str) -> None:
    update = Loop._update
    calls = iter(range(1, 10**9))

    def signalling(loop: Loop, *arguments: Any) -> None:
        if loop.context.level != "rehearsal" and next(calls) == step:
            os.kill(os.getpid(), signal.Signals[name])
        update(loop, *arguments)

    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if first and os.environ.get("RANK", "0") == str(rank):
        Loop._update = signalling  # type: ignore[method-assign]


def at_work(where: str, *arguments: str) -> None:
    rank, step, name = where.split(":")
    plan(int(rank), int(step), name)
    sys.argv = ["harness", *arguments]
    sys.exit(main())


if __name__ == "__main__":
    given, _, *rest = sys.argv[1:]
    at_work(given, *rest)
