"""One job at a time in a folder, all its ranks together."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.distributed.ranks import Ranks
from harness.system.atomic_files import make_writable
from harness.system.deletion import ELSEWHERE, check_no_link
from harness.system.locks import HEARTBEAT_S, LEASE_S, Busy, locked
from harness.training.checkpointing import Checkpointer

SECONDS_BETWEEN_TRIES, SECONDS_BETWEEN_LOOKS = 0.1, 1.0


@contextmanager
def folder_lock(folder: Path, ranks: Ranks, checkpointer: Checkpointer | None) -> Iterator[None]:
    """While no other job is in the folder. Ranks ask again and again: a collective in which all
    others waited for rank 0 would time out.

    Raises:
        Stopped: a signal asked for it while others were in there.
    """
    with ExitStack() as stack:
        while not ranks.on_main(lambda: _enter(folder, stack)):
            if checkpointer:
                checkpointer.raise_if_stopped()
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield


@contextmanager
def run_folder_lock(folder: Path, checkpointer: Checkpointer) -> Iterator[None]:
    """While this job alone is in the folder of its results.

    A lock of another host is waited for until it counts as stale: a run that is started again
    elsewhere cannot know that the process before is dead.

    Raises:
        Busy: another process is in there.
        ValueError: the folder cannot be written, or is a link.
        Stopped: a signal asked for it meanwhile.
    """
    deadline = time.monotonic() + LEASE_S + HEARTBEAT_S
    with ExitStack() as stack:
        while not checkpointer.ranks.on_main(lambda: _enter_alone(folder, stack, deadline)):
            checkpointer.raise_if_stopped()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        yield


def _enter_alone(folder: Path, stack: ExitStack, deadline: float) -> bool:
    for own in (folder.parent, folder):
        check_no_link(own, ELSEWHERE)
    make_writable(folder)
    try:
        stack.enter_context(locked(folder, wait=False))
    except Busy as busy:
        if busy.is_alive or time.monotonic() > deadline:
            raise
        return False
    return True


def _enter(folder: Path, stack: ExitStack) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(folder, wait=False))
    except (Busy, FileNotFoundError):  # in use, or cleared away between the two lines
        return False
    return True
