"""Defines Ranks, the group of processes of a run: sums, means, broadcasts and comparisons."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.distributed.consistency import CollectiveCall, Digests, disagreement_error
from harness.distributed.ddp import FirstPass, replicate, running_statistics
from harness.distributed.gradient_exchange import (
    DENSE,
    GradientExchange,
    MasksInForce,
    register_exchange,
)
from harness.distributed.header import caller_location, hashed, layout, sync_collective
from harness.distributed.options import Options
from harness.distributed.watchdog import Watchdog
from harness.model_state.condition import model_settings
from harness.model_state.fingerprints import fingerprint
from harness.vocabulary.bitpack import pack_all, unpack_all
from harness.vocabulary.tensors import Tensors, all_tensors, local_mean

T = TypeVar("T")

LINED_UP = torch.contiguous_format


@dataclass(frozen=True)
class Ranks:
    """Represents this process and its group: rank, world size and device.

    Before every collective the ranks compare which collective they have reached, with which tensors
    (`header.sync_collective`). The collectives of training steps are not compared.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    options: Options = field(default_factory=Options)
    control: dist.ProcessGroup | None = None  # gloo, for small messages from and to the CPU
    aside: dist.ProcessGroup | None = None  # gloo, for asynchronous questions in training
    watch: Watchdog | None = None  # ends this rank if another one is lost

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def heartbeat(self, alone: bool = False, before: str = "") -> None:
        """Reports progress to the other ranks, which costs one increment.

        All ranks must call this equally often. Where they do not, as in `on_main`, pass alone=True.
        `before` names a collective that follows without comparison, in case that it never ends.
        """
        if self.watch:
            self.watch.heartbeat(alone, f"{before} ({caller_location()})" if before else "")

    def diagnose(self, error: BaseException) -> BaseException:
        """Returns RankLost if another rank caused this error, else the error. May take seconds."""
        return self.watch.diagnose(error) if self.watch else error

    @contextmanager
    def on_rank_loss(self, callback: Callable[[str], None]) -> Iterator[None]:
        """Calls `callback(reason)` on the loss of a rank, even if the main thread hangs."""
        if self.watch:
            self.watch.on_loss.append(callback)
        try:
            yield
        finally:
            if self.watch:
                self.watch.on_loss.remove(callback)

    def mean(self, sums: Tensors, samples: int) -> Tensors:
        """Returns (sum over ranks) / (samples over ranks), elementwise. Equal bits on every rank.

        Raises:
            ValueError: No rank has a sample.
        """
        if self.world_size == 1:
            return local_mean(sums, samples)
        total = torch.tensor(samples, device=self.device)
        # A rank without a sample may hold its tensors in another memory format.
        local = {name: sums[name].clone(memory_format=LINED_UP) for name in sorted(sums)}
        with self._together(f"mean of {len(local)} tensors", layout(local)):
            for tensor in (total, *local.values()):
                dist.all_reduce(tensor)
        return local_mean(local, int(total))

    def sum(self, tensor: Tensor) -> Tensor:
        """Computes the elementwise sum over ranks, in place. Every rank gets the same result."""
        if self.world_size > 1:
            with self._together("sum of a tensor", layout([tensor])):
                dist.all_reduce(tensor)
        return tensor

    def maximum(self, number: int) -> int:
        """Returns the largest of all ranks' numbers."""
        largest = torch.tensor(number)
        if self.world_size > 1:
            with self._together("largest number"):
                dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self.control)
        return int(largest)

    def shard(self, indices: Tensor) -> Tensor:
        """Returns this rank's consecutive part of a list.

        Sizes differ by at most 1, and may be 0.
        """
        return indices.tensor_split(self.world_size)[self.rank]

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Copies rank 0's values to every rank, in place."""
        if self.world_size > 1 and tensors:
            with self._together(f"{len(tensors)} tensors of rank 0", layout(tensors)):
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def broadcast_object(self, value: T) -> T:
        """Returns rank 0's picklable value on every rank."""
        box = [value]
        if self.world_size > 1:
            with self._together("a value of rank 0"):
                dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def all_gather_object(self, value: T) -> list[T]:
        """Returns every rank's picklable value on every rank, ordered by rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        with self._together("a value of every rank"):
            dist.all_gather_object(values, value, group=self.control)
        return values

    def on_main(self, work: Callable[[], T]) -> T:
        """Runs `work()` on rank 0 and returns its result, or raises its error, on every rank."""
        result: T | None = None
        error: Exception | None = None
        if self.is_main:
            self.heartbeat(alone=True)
            try:  # An error on rank 0 alone would leave the other ranks waiting.
                result = work()
            except Exception as caught:
                error = caught
        if self.world_size > 1:
            result, error = self.broadcast_object((result, error))
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def broadcast_masks(self, masks: Tensors) -> Tensors:
        """Returns rank 0's masks on every rank: sent as packed bits, then compared."""
        if self.world_size == 1:
            return masks
        bits = pack_all(masks)
        with self._together("masks of rank 0", layout(masks)):
            dist.broadcast(bits, src=0)
        received = unpack_all(bits, masks)
        self.check_equal(received, "received masks")
        return received

    def check_equal(self, tensors: Tensors, name: str) -> None:
        """Checks that tensors have the same bits on all ranks.

        Raises:
            RanksDisagree: On every rank. Names the tensors, and ranks that differ from a majority.
        """
        if self.world_size > 1:
            self.check_digests(fingerprint(tensors), name)

    def check_digests(self, digests: Digests, name: str) -> None:
        """Checks fingerprints as `check_equal` does. While they are equal, 32 bytes are sent."""
        if self.control is None:  # one rank, or a rank without a process group
            return
        with self._together(f"comparison of {name}", number=hashed(dict(digests))) as equal:
            pass
        error = None if equal else disagreement_error(name, self.all_gather_object(digests))
        if error:
            raise error

    def check_replicas(self, model: nn.Module, name: str, also: Tensors | None = None) -> None:
        """Checks that parameters, buffers, `model_settings` and `also` are equal on all ranks.

        During training replicas are equal at the end of each epoch, otherwise at any time.
        """
        if self.world_size > 1:
            digests = fingerprint({**all_tensors(model), **(also or {})})
            self.check_digests({**digests, **model_settings(model)}, name)

    def broadcast_running_statistics(self, model: nn.Module) -> None:
        """Copies rank 0's running statistics of norms to every rank; they differ after steps."""
        self.broadcast(running_statistics(model))

    def wrap(
        self,
        model: nn.Module,
        first_pass: FirstPass,
        exchange: GradientExchange = DENSE,
        masks_in_force: MasksInForce | None = None,
    ) -> nn.Module:
        """Returns the model whose backward pass averages gradients over ranks, without buffers.

        `first_pass` returns a loss of one or two samples. See `register_exchange` for the masks.

        Raises:
            RanksDisagree: The models are not equal. DDP would overwrite them with rank 0's.
        """
        if self.world_size == 1:
            return model
        self.broadcast_running_statistics(model)
        self.check_replicas(model, "the model before training")
        register = partial(register_exchange, exchange=exchange, masks_in_force=masks_in_force)
        return replicate(model, self.device, first_pass, register)

    def barrier(self) -> None:
        """Waits until all ranks have called this."""
        if self.world_size > 1:
            with self._together("barrier"):
                pass

    @contextmanager
    def waiting(self, collective: str) -> Iterator[None]:
        """Reports to the other ranks, inside the context, that this rank waits in a collective."""
        if self.watch:
            self.watch.set_waiting(collective)
        yield
        if self.watch:
            self.watch.set_waiting("")

    @contextmanager
    def _together(
        self, name: str, forms: Mapping[str, str] | None = None, number: int = 0
    ) -> Iterator[bool]:
        """Compares the collectives and `forms` of all ranks, and yields if `number` is equal."""
        self.heartbeat()
        arrival = CollectiveCall(name, caller_location(), forms or {})
        with self.waiting(str(arrival)):
            equal = sync_collective(arrival, self.control, number)
        yield equal
        self.heartbeat()
