"""Jobs that need the same thing take turns: the first makes it, the others wait and find it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.distributed.ranks import Ranks
from harness.system.locks import Busy, locked
from harness.training.checkpointing import Journal

SECONDS_BETWEEN_TRIES = 0.1


@contextmanager
def turn(folder: Path, ranks: Ranks, journal: Journal | None) -> Iterator[None]:
    """While no other job is in the folder. Ranks ask again and again: a collective in which all
    others waited for rank 0 would time out.

    Raises:
        Stopped: a signal asked for it while others were in there.
    """
    with ExitStack() as stack:
        while not ranks.on_main(lambda: _enter(folder, stack)):
            if journal:
                journal.stop_if_asked()
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield


def _enter(folder: Path, stack: ExitStack) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(folder, wait=False))
    except (Busy, FileNotFoundError):  # in use, or cleared away between the two lines
        return False
    return True
