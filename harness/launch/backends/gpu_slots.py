"""Assigns GPUs of this machine to worker processes by lock files."""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from harness.launch.backends.local_ranks import rank_count
from harness.system.leases import LOCK
from harness.system.locks import Busy, locked, watch_locks
from harness.system.names import check_name

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Locks of the slots that this process holds until it ends, and the names of their devices.
_held = ExitStack()
_acquired: list[str] = []


@dataclass(frozen=True)
class Devices:
    """Describes the GPUs of a sweep, each with `runs_per_gpu` slots for runs.

    names: as in CUDA_VISIBLE_DEVICES. A name joins several devices ("0,1") for runs of several
    ranks. No names: runs use the CPU.
    """

    names: tuple[str, ...] = ()
    runs_per_gpu: int = 1

    def __post_init__(self) -> None:
        for device in ",".join(self.names).split(",") if self.names else []:
            check_name("launch.devices", _lock_name(device))
        if len(set(self.names)) < len(self.names):
            raise ValueError(
                f"launch.devices names a device twice: {', '.join(self.names)}; for several runs "
                "on each raise launch.runs_per_gpu"
            )

    @property
    def slots(self) -> int:
        return len(self.names) * self.runs_per_gpu

    def acquire(self, home: Path | None = None) -> None:
        """Locks a free slot and makes its devices the only visible ones of this process.

        The lock is held until the process ends. Must be called before torch initializes CUDA.

        home: folder of the locks, which count on this machine only.

        Raises:
            Busy: all slots are taken, by this sweep or another one.
        """
        if not self.names or _acquired:
            return
        home = home or Path(tempfile.gettempdir()) / f"pruning-harness-devices-{os.getuid()}"
        if not self._acquire_slot(home):
            watch_locks(home.glob(f"*/{LOCK}"))  # finds locks left from before the last boot
            if not self._acquire_slot(home):
                raise Busy(
                    f"all {self.slots} slots on devices {', '.join(self.names)} are taken; wait "
                    "for the runs there, raise launch.runs_per_gpu, or name other devices in "
                    "launch.devices"
                )

    def _acquire_slot(self, home: Path) -> bool:
        for slot in range(self.runs_per_gpu):
            for name in self.names:
                if _lock_all([home / f"{_lock_name(device)}-{slot}" for device in name.split(",")]):
                    _acquired.append(name)
                    os.environ[VISIBLE] = name
                    return True
        return False


def devices_of(config: dict[str, object]) -> Devices:
    """Returns the devices that `device` and `launch` of a config select.

    Raises:
        ValueError: launch.devices is empty or names a device twice, or there are too few.
    """
    launch: Any = config["launch"]
    names, runs_per_gpu, ranks = launch["devices"], launch["runs_per_gpu"], rank_count(config)
    if names == []:
        raise ValueError("launch.devices=[] names no device; write device=cpu to use none")
    visible = _visible() if names is None else tuple(str(name) for name in names)
    if config["device"] == "cpu" or not visible:
        return Devices((), runs_per_gpu)
    if len(visible) < ranks:
        raise ValueError(
            f"launch.ranks_per_run={ranks}, but a sweep's runs have {len(visible)} GPUs "
            f"({', '.join(visible)}); start fewer ranks, or name more in launch.devices"
        )
    ends = range(ranks, len(visible) + 1, ranks)
    return Devices(tuple(",".join(visible[end - ranks : end]) for end in ends), runs_per_gpu)


def _lock_name(device: str) -> str:
    """Returns the folder name of a device's lock.

    Older drivers name a part of a GPU MIG-GPU-5d5b/1/0, and a folder name holds no slash.
    """
    return device.strip().replace("/", "_")


def _visible() -> tuple[str, ...]:
    """Returns the GPUs that CUDA can use, without torch.

    torch would take a second and some memory of every device.
    """
    if VISIBLE in os.environ:
        named = (name.strip() for name in os.environ[VISIBLE].split(","))
        # CUDA also ignores all names from the first invalid one on.
        return tuple(takewhile(lambda name: name and not name.startswith("-"), named))
    cards = Path("/proc/driver/nvidia/gpus")
    return tuple(map(str, range(len(list(cards.iterdir()))))) if cards.is_dir() else ()


def _lock_all(folders: list[Path]) -> bool:
    """Locks all folders or none; True if they are locked."""
    with ExitStack() as held:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(locked(folder, wait=False))
            except Busy:
                return False
        _held.enter_context(held.pop_all())
    return True
