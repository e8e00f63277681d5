"""Joins the process group that a launcher started, and leaves it."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from harness.distributed.announced import announcing
from harness.distributed.options import Options
from harness.distributed.ranks import Ranks
from harness.distributed.rendezvous import address_from_environment, rendezvous
from harness.distributed.watchdog import Watchdog
from harness.system.errors import WrongEnvironment

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
RENDEZVOUS_S = 60.0  # minimum, because ranks of one job may start so far apart
# A collective names no rank when it times out, so the watchdog must end the run earlier.
COLLECTIVE_S = 1800.0


@contextmanager
def ranks_of_environment(
    device: str = "auto",
    options: Options = Options(),  # noqa: B008 (frozen)
) -> Iterator[Ranks]:
    """Joins the group that torchrun started, or makes a group of one, and leaves it at the end.

    Rank and device come from RANK, WORLD_SIZE and LOCAL_RANK. Uses nccl on CUDA and gloo on the
    CPU.

    Raises:
        ValueError: The device is unknown or missing, or the variables are incomplete or wrong.
        RankLost: Another rank did not start, or its end is the cause of an error inside.
    """
    check_environment()
    chosen = _device(device)
    backend = _backend(options.backend, chosen)
    if "RANK" not in os.environ:
        yield Ranks(device=chosen, options=options)
        return
    address, store, names = rendezvous(
        address_from_environment(), max(options.timeout_s, RENDEZVOUS_S)
    )
    watch = Watchdog(address, names, options.timeout_s)
    with watch.running():
        try:
            with watch.diagnosing():
                groups = _joined(backend, store, address.rank, address.world_size, options)
                ranks = Ranks(address.rank, address.world_size, chosen, options, *groups, watch)
                with announcing(ranks):
                    yield ranks
                ranks.barrier()
                watch.leave()
        finally:
            _left()


def _joined(
    backend: str, store: Store, rank: int, world_size: int, options: Options
) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
    """Makes the group of `backend` torch's default.

    Returns two gloo groups, for control and aside.
    """
    limit = timedelta(seconds=max(COLLECTIVE_S, 3 * options.timeout_s))
    store.set_timeout(limit)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=limit)
    control, aside = (dist.new_group(backend="gloo", timeout=limit) for _ in range(2))
    return cast(dist.ProcessGroup, control), cast(dist.ProcessGroup, aside)


def _left() -> None:
    gc.collect()  # DDP wrappers must be freed before their process group.
    if dist.is_initialized():
        dist.destroy_process_group()


def check_environment() -> None:
    """Checks the variables of the launcher.

    Raises:
        WrongEnvironment: The launcher's variables are incomplete or contradict each other.
    """
    given = [key for key in ("RANK", "WORLD_SIZE") if key in os.environ]
    if not given:
        return
    missing = [key for key in NEEDED if not os.environ.get(key)]
    if missing:
        raise WrongEnvironment(
            f"{' and '.join(given)} set, but {', '.join(missing)} missing or empty; start with "
            f"torchrun, or unset {' and '.join(given)} to run in one process"
        )
    rank, world_size = (_number(key) for key in ("RANK", "WORLD_SIZE"))
    if rank >= world_size:
        raise WrongEnvironment(
            f"RANK={rank} must be below WORLD_SIZE={world_size}: give the processes RANK 0, 1, ... "
            f"{max(world_size - 1, 0)}, or start with torchrun"
        )
    if not 0 < _number("MASTER_PORT") < 2**16:
        raise WrongEnvironment(
            f"MASTER_PORT={os.environ['MASTER_PORT']} must be from 1 to 65535, free on rank 0's "
            "host and the same for all ranks"
        )


def _number(key: str) -> int:
    text = os.environ[key]
    if not text.isdecimal():
        raise WrongEnvironment(
            f"{key} must be a whole number >= 0, got {text!r}; start with torchrun, which sets it"
        )
    return int(text)


def _backend(requested: str, device: torch.device) -> str:
    if requested == "nccl" and device.type != "cuda":
        raise ValueError(
            "ranks.backend=nccl needs CUDA, and this run is on the CPU; use auto or gloo"
        )
    return ("nccl" if device.type == "cuda" else "gloo") if requested == "auto" else requested


def _device(requested: str) -> torch.device:
    if requested == "mps":
        raise ValueError(
            "device=mps: losses and statistics are summed in float64, which mps lacks; use "
            "device=cpu"
        )
    if requested not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {requested!r}")
    if requested == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but torch finds no CUDA device; use device=cpu or auto")
    if requested == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return _cuda_device()


def _cuda_device() -> torch.device:
    if "RANK" in os.environ and "LOCAL_RANK" not in os.environ:
        raise WrongEnvironment(
            "RANK is set but LOCAL_RANK is not: ranks of one host would share a device; start "
            "with torchrun, or set LOCAL_RANK (0, 1, ... on every host)"
        )
    local = _number("LOCAL_RANK") if "LOCAL_RANK" in os.environ else 0
    if local >= torch.cuda.device_count():
        raise WrongEnvironment(
            f"LOCAL_RANK is {local}, but this host has {torch.cuda.device_count()} CUDA devices; "
            "start at most one rank per device, or use device=cpu"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
