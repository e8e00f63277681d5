"""Describes versions, hardware and commit of a run, and the key under which numbers repeat."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from harness import __version__
from harness.distributed import Ranks
from harness.system.git import commit
from harness.system.hardware import GIB, cpu_model, driver_version, hardware

PACKAGES = ("torch", "torchvision", "hydra-core", "numpy", "wandb")


def numerics_key(ranks: Ranks) -> dict[str, Any]:
    """Returns the facts under which records repeat bit for bit, if all are equal."""
    return {
        "world_size": ranks.world_size,
        "threads": torch.get_num_threads(),
        "device": device_name(ranks.device),
        "torch": str(torch.__version__),
    }


def environment(ranks: Ranks, command: Sequence[str]) -> dict[str, Any]:
    """Returns the content of environment.json; `command` executes this run alone."""
    return {
        "numerics_key": numerics_key(ranks),
        "commit": commit(),
        "command": list(command),
        "hardware": {**hardware(), **gpus(ranks.device)},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {
            "pruning-harness": __version__,
            **{name: _version(name) for name in PACKAGES},
        },
    }


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()}"


def chip_name(device: torch.device) -> str:
    """Returns the model of the processor that computes, which decides how long a pass takes."""
    return f"cpu {cpu_model()}" if device.type == "cpu" else device_name(device)


def gpus(device: torch.device) -> dict[str, Any]:
    """Returns the GPUs that this process may use; none if it computes on the CPU."""
    if device.type != "cuda":
        return {"gpus": []}
    every = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    devices = [
        {"name": properties.name, "memory_gib": round(properties.total_memory / GIB, 1)}
        for properties in every
    ]
    return {"gpus": devices, "cuda": torch.version.cuda, "driver": driver_version()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
