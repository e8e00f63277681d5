"""This process among its equals: sums, means, broadcasts, agreement."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.bits import fingerprint, pack, unpack
from harness.distributed.agreement import disagreement
from harness.distributed.exchange import DENSE, Exchange, Live, install
from harness.distributed.options import Options
from harness.distributed.replica import Rehearsal, replicate
from harness.distributed.watchdog import Watchdog
from harness.tensors import Tensors, mean_alone

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among its equals: which one, of how many, on which device.

    control: a gloo group for what is not training: small messages, from and to the CPU.
    watch: ends this rank if another is lost; None in a group of one.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    options: Options = field(default_factory=Options)
    control: dist.ProcessGroup | None = None
    watch: Watchdog | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def alive(self, alone: bool = False) -> None:
        """Shows the other ranks that this one moves on; costs a count. All must call it equally
        often; where they do not, as in `on_main`, alone=True.
        """
        if self.watch:
            self.watch.alive(alone)

    def explained(self, error: BaseException) -> BaseException:
        """RankLost, if another rank caused this error, else the error. May take seconds."""
        return self.watch.explained(error) if self.watch else error

    @contextmanager
    def told_of_loss(self, callback: Callable[[str], None]) -> Iterator[None]:
        """Inside, a rank that is lost while this one's main thread hangs calls `callback(why)`
        before the process ends."""
        if self.watch:
            self.watch.at_loss.append(callback)
        try:
            yield
        finally:
            if self.watch:
                self.watch.at_loss.remove(callback)

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
            with self._together():
                dist.all_reduce(tensor)
        return tensor

    def share(self, indices: Tensor) -> Tensor:
        """This rank's part of a list: consecutive, sizes differ by one at most, may be empty."""
        return indices.tensor_split(self.count)[self.rank]

    def send(self, tensors: list[Tensor]) -> None:
        """Rank 0's values go to every rank, in place."""
        if self.count > 1:
            with self._together():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def send_object(self, value: T) -> T:
        """Rank 0's picklable value, on every rank."""
        box = [value]
        if self.count > 1:
            with self._together():
                dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's picklable value, by rank, on every rank."""
        if self.count == 1:
            return [value]
        every: list[Any] = [None] * self.count
        with self._together():
            dist.all_gather_object(every, value, group=self.control)
        return every

    def on_main(self, work: Callable[[], T]) -> T:
        """What rank 0's `work()` returns, on every rank; what it raises, all ranks raise.

        An error on rank 0 alone would leave the others waiting in the next collective.
        """
        result: T | None = None
        error: Exception | None = None
        if self.is_main:
            self.alive(alone=True)
            try:
                result = work()
            except Exception as caught:
                error = caught
        if self.count > 1:
            result, error = self.send_object((result, error))
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

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

    def check_equal(self, tensors: Tensors, what: str) -> None:
        """Compares digests of masks or weights: a message of 16 bytes while all ranks' are equal.

        Raises:
            RanksDisagree: on every rank, naming the odd ranks and their tensors.
        """
        if self.count == 1:
            return
        mine = fingerprint(tensors)
        if self._is_equal(json.dumps(mine, sort_keys=True)):
            return
        error = disagreement(what, self.gather(mine))
        if error:
            raise error

    def _is_equal(self, text: str) -> bool:
        number = int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)
        # In place of a gather: the largest of x and of -1 - x are both known to all, and are of
        # one x only if all are equal. The size does not grow with the ranks.
        ends = torch.tensor([number, ~number])
        with self._together():
            dist.all_reduce(ends, op=dist.ReduceOp.MAX, group=self.control)
        return int(ends[0]) == ~int(ends[1])

    def wrap(
        self,
        model: nn.Module,
        rehearse: Rehearsal,
        exchange: Exchange = DENSE,
        live: Live | None = None,
    ) -> nn.Module:
        """The model whose backward averages gradients over ranks; buffers are never sent.

        live: see `install`; None: all entries are live.
        """
        if self.count == 1:
            return model
        return replicate(model, self.device, rehearse, lambda new: install(new, exchange, live))

    def wait(self) -> None:
        if self.count > 1:
            with self._together():
                dist.barrier(group=self.control)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Around a collective: who has not come to it is behind those that wait in it."""
        self.alive()
        yield
        self.alive()
