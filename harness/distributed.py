"""All that this project knows of torch.distributed. One process behaves as a group of one."""

import gc
import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from harness.bits import digest, pack, unpack
from harness.tensors import Tensors, mean_alone

# Newer releases of torch renamed the switch; the old name warns there.
_SWITCHES = inspect.signature(DistributedDataParallel).parameters
_NEW, _OLD = "forward_sync_buffers", "broadcast_buffers"
NO_BUFFERS: dict[str, Any] = {_NEW if _NEW in _SWITCHES else _OLD: False}


class RanksDisagree(RuntimeError):
    """Ranks hold different values where the maths says that they must be equal."""


@dataclass(frozen=True)
class Ranks:
    """This process among its equals: which one, of how many, on which device."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def mean(self, sums: Tensors, samples: int) -> Tensors:
        """(sum over ranks) / (samples over ranks), elementwise; equal bits on every rank.

        Raises:
            ValueError: no rank has a sample.
        """
        if self.count == 1:
            return mean_alone(sums, samples)
        everyone = int(self.sum(torch.tensor(samples, device=self.device)))
        return mean_alone({name: self.sum(sums[name].clone()) for name in sorted(sums)}, everyone)

    def sum(self, tensor: Tensor) -> Tensor:
        """Elementwise sum over ranks, in place; every rank gets the same result."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, indices: Tensor) -> Tensor:
        """This rank's part of a list: consecutive, sizes differ by one at most, may be empty."""
        return indices.tensor_split(self.count)[self.rank]

    def send(self, tensors: list[Tensor]) -> None:
        """Rank 0's values go to every rank, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def send_object(self, value: Any) -> Any:
        """Rank 0's picklable value, on every rank."""
        box = [value]
        if self.count > 1:
            dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def agree(self, masks: Tensors) -> Tensors:
        """Rank 0's masks on every rank, sent as packed bits; the received ones are compared."""
        if self.count == 1:
            return masks
        names = sorted(masks)
        bits = torch.cat([pack(masks[name]) for name in names])
        self.send([bits])
        parts = bits.split([-(-masks[name].numel() // 8) for name in names])
        received = {n: unpack(b, masks[n].shape) for n, b in zip(names, parts, strict=True)}
        agreed = {name: received[name] for name in masks}
        self.check_equal(agreed, "received masks")
        return agreed

    def check_equal(self, masks: Tensors, what: str) -> None:
        """Compares digests of bool tensors between ranks.

        Raises:
            RanksDisagree: on every rank, naming the odd ranks and their tensors.
        """
        if self.count == 1:
            return
        mine = {name: digest({name: mask}) for name, mask in masks.items()}
        every: list[dict[str, str]] = [{} for _ in range(self.count)]
        dist.all_gather_object(every, mine)
        odd = {rank: _differing(every[0], other) for rank, other in enumerate(every)}
        odd = {rank: names for rank, names in odd.items() if names}
        if odd:
            found = "; ".join(f"rank {rank}: {', '.join(names)}" for rank, names in odd.items())
            raise RanksDisagree(
                f"{what} differ from rank 0's ({found}); look for randomness that the seed does "
                "not decide, or for code that changes masks on one rank only"
            )

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward averages gradients over ranks; buffers are never sent."""
        if self.count == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, **NO_BUFFERS)

    def no_sync(self, replica: nn.Module) -> AbstractContextManager[None]:
        """Inside it a backward adds to this rank's gradients only (gradient accumulation)."""
        if isinstance(replica, DistributedDataParallel):
            return replica.no_sync()
        return nullcontext()

    def wait(self) -> None:
        if self.count > 1:
            dist.barrier()


def _differing(first: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(
        name for name in first.keys() | other.keys() if first.get(name) != other.get(name)
    )


@contextmanager
def ranks_of_environment(device: str = "auto") -> Iterator[Ranks]:
    """The group that torchrun started, or a group of one; leaves it properly on the way out.

    Rank and device come from RANK, WORLD_SIZE and LOCAL_RANK. nccl on CUDA, gloo on the CPU.

    Raises:
        ValueError: the device is unknown or not there, or the variables are incomplete.
    """
    chosen = _device(device)
    if "RANK" not in os.environ:
        yield Ranks(device=chosen)
        return
    missing = [key for key in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if missing:
        raise ValueError(f"RANK is set but {', '.join(missing)} is not; start with torchrun")
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen)
        dist.barrier()
    finally:
        gc.collect()  # DDP wrappers must die before the group that they talk through.
        dist.destroy_process_group()


def is_main_process() -> bool:
    """Whether this process is rank 0 or alone, also outside a group."""
    return os.environ.get("RANK", "0") == "0"


def _device(asked: str) -> torch.device:
    if asked not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {asked!r}")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but torch finds no CUDA device; use device=cpu or auto")
    if asked == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= torch.cuda.device_count():
        raise ValueError(
            f"LOCAL_RANK is {local}, but this host has {torch.cuda.device_count()} CUDA devices; "
            "start at most one rank per device, or use device=cpu"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
