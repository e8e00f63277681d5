"""Locks a folder for one job, with all its ranks."""

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
    """Holds the lock of the folder. Waits until no other job has it.

    Ranks poll: a collective in which all other ranks waited for rank 0 would time out.

    Raises:
        Stopped: After a signal while waiting.
    """
    with ExitStack() as stack:
        while not ranks.on_main(lambda: _enter(folder, stack)):
            if checkpointer:
                checkpointer.raise_if_stopped()
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield


@contextmanager
def run_folder_lock(folder: Path, checkpointer: Checkpointer) -> Iterator[None]:
    """Holds the lock of a run folder for this job.

    Waits until a lock held on another host is released or stale. A run that is restarted elsewhere
    cannot check whether a remote process is alive.

    Raises:
        Busy: Another process holds the lock.
        ValueError: The folder cannot be written, or is a link.
        Stopped: After a signal while waiting.
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
