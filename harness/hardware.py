"""What a machine is made of, as far as it says."""

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")
DRIVER = Path("/proc/driver/nvidia/version")
GIB = 2**30


def hardware(device: torch.device) -> dict[str, Any]:
    """Of rank 0's machine; None where it does not say.

    cpus: that this process may use. gpus: that it may use, empty where it computes on the CPU.
    """
    found: dict[str, Any] = {
        "cpu": cpu_model(),
        "cpus": _usable(),
        "memory_gib": memory_gib(),
        "gpus": [],
    }
    if device.type == "cuda":
        found |= {"gpus": _gpus(), "cuda": torch.version.cuda, "driver": driver_version()}
    return found


def cpu_model(file: Path = CPUINFO) -> str:
    """Only some kernels name it; else the architecture."""
    with suppress(OSError):
        named = re.search(r"^model name\s*:\s*(.+)$", file.read_text(errors="replace"), re.M)
        if named:
            return named[1].strip()
    return platform.processor() or platform.machine()


def _usable() -> int | None:
    # Not every system has it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def memory_gib() -> float | None:
    with suppress(AttributeError, ValueError, OSError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    return None


def driver_version(file: Path = DRIVER) -> str | None:
    with suppress(OSError):
        # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024"
        found = re.search(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s", file.read_text(), re.M)
        return found[1] if found else None
    return None


def _gpus() -> list[dict[str, Any]]:
    every = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [{"name": one.name, "memory_gib": round(one.total_memory / GIB, 1)} for one in every]
