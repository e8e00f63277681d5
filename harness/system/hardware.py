"""Reads the hardware of this machine, as far as the system reports it."""

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
DRIVER = Path("/proc/driver/nvidia/version")
GIB = 2**30


def hardware() -> dict[str, Any]:
    """Returns the CPU and memory of this machine, without GPUs. None where unknown.

    `cpus` is the number that this process may use.
    """
    return {"cpu": cpu_model(), "cpus": _usable(), "memory_gib": memory_gib()}


def cpu_model(file: Path = CPUINFO) -> str:
    """Returns the CPU's name, or the architecture where the kernel does not report a name."""
    with suppress(OSError):
        named = re.search(r"^model name\s*:\s*(.+)$", file.read_text(errors="replace"), re.M)
        if named:
            return named[1].strip()
    return platform.processor() or platform.machine()


def _usable() -> int | None:
    # Not every system has this function.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def core_count() -> int:
    """Returns how many workers this process may keep busy: a container's quota counts too."""
    # Imported late: joblib takes a fifth of the time of --help, which needs none.
    from joblib import cpu_count

    return int(cpu_count())


def memory_gib() -> float | None:
    with suppress(AttributeError, ValueError, OSError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    return None


def driver_version(file: Path = DRIVER) -> str | None:
    with suppress(OSError):
        # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024"
        match = re.search(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s", file.read_text(), re.M)
        return match[1] if match else None
    return None
