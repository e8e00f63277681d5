"""Decides how many processes read samples, and which splits are held in memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from weakref import WeakSet

import torch

from harness.vocabulary.checks import check

HELD_SHARE = 0.25  # of the free memory, that splits of a run may fill
MOST_WORKERS = {"cuda": 8, "cpu": 4}  # by device, with workers=auto
WORKERS = "a whole number in [0, 1024] or null"


class Machinery:
    """Marks what holds processes, queues and their positions: no state that a checkpoint lacks."""


class Closable(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True)
class Loading:
    """Holds what a run says about reading its data. No number of a run depends on it.

    workers: processes of each rank that read samples; 0: the rank reads them itself; None: as many
        as there are cores beside the ranks.
    hold: True holds each split in the device's memory, False streams it, None decides by size.
    """

    workers: int | None = None
    hold: bool | None = None

    def __post_init__(self) -> None:
        check("workers", self.workers, WORKERS)

    def workers_on(self, device: torch.device) -> int:
        """Returns how many processes read samples for a rank that computes on this device."""
        if self.workers is not None:
            return self.workers
        cores = len(os.sched_getaffinity(0)) // _ranks_here()
        return max(0, min(MOST_WORKERS.get(device.type, 4), cores - 1))

    def holds(self, size: int, device: torch.device) -> bool:
        """Returns True if a split of so many bytes is held in the memory of this device."""
        if self.hold is not None:
            return self.hold
        return size <= HELD_SHARE * _free_bytes(device) / _ranks_here()


_in_force = [Loading()]
_open: "WeakSet[Closable]" = WeakSet()


def loading_now() -> Loading:
    return _in_force[-1]


@contextmanager
def loading(workers: int | Literal["auto"], hold_data: bool | Literal["auto"]) -> Iterator[None]:
    """Reads data as a run says, inside the context; its end ends the worker processes."""
    count = None if workers == "auto" else workers
    _in_force.append(Loading(count, None if hold_data == "auto" else hold_data))
    try:
        yield
    finally:
        _in_force.pop()
        for pool in list(_open):
            pool.close()


def close_later(pool: Closable) -> None:
    """Closes a pool of worker processes at the end of `loading`."""
    _open.add(pool)


def _ranks_here() -> int:
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):  # no Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
