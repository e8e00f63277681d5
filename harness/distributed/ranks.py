"""This process among its equals: sums, means, broadcasts, agreement."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.distributed.consistency import CollectiveCall, Digests, disagreement_error
from harness.distributed.ddp import Rehearsal, replicate, running_statistics
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
    """This process among its equals: which one, of how many, on which device.

    Before every collective the ranks tell each other what they have come to (`header.meet`);
    those of a training's steps go without.

    control: a gloo group for what is not training: small messages, from and to the CPU.
    aside: another one, for questions beside a training, which wait for nobody.
    watch: ends this rank if another is lost; None in a group of one.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    options: Options = field(default_factory=Options)
    control: dist.ProcessGroup | None = None
    aside: dist.ProcessGroup | None = None
    watch: Watchdog | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def heartbeat(self, alone: bool = False, before: str = "") -> None:
        """Shows the other ranks that this one moves on; costs a count. All must call it equally
        often; where they do not, as in `on_main`, alone=True.

        before: a collective that comes without a word, which is told if it never ends.
        """
        if self.watch:
            self.watch.heartbeat(alone, f"{before} ({caller_location()})" if before else "")

    def diagnose(self, error: BaseException) -> BaseException:
        """RankLost, if another rank caused this error, else the error. May take seconds."""
        return self.watch.diagnose(error) if self.watch else error

    @contextmanager
    def on_rank_loss(self, callback: Callable[[str], None]) -> Iterator[None]:
        """Inside, a rank that is lost while this one's main thread hangs calls `callback(why)`
        before the process ends."""
        if self.watch:
            self.watch.on_loss.append(callback)
        try:
            yield
        finally:
            if self.watch:
                self.watch.on_loss.remove(callback)

    def mean(self, sums: Tensors, samples: int) -> Tensors:
        """(sum over ranks) / (samples over ranks), elementwise; equal bits on every rank.

        Raises:
            ValueError: no rank has a sample.
        """
        if self.world_size == 1:
            return local_mean(sums, samples)
        everyone = torch.tensor(samples, device=self.device)
        # As they lie in memory a rank without a sample may hold them in another order.
        mine = {name: sums[name].clone(memory_format=LINED_UP) for name in sorted(sums)}
        with self._together(f"mean of {len(mine)} tensors", layout(mine)):
            for tensor in (everyone, *mine.values()):
                dist.all_reduce(tensor)
        return local_mean(mine, int(everyone))

    def sum(self, tensor: Tensor) -> Tensor:
        """Elementwise sum over ranks, in place; every rank gets the same result."""
        if self.world_size > 1:
            with self._together("sum of a tensor", layout([tensor])):
                dist.all_reduce(tensor)
        return tensor

    def maximum(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        found = torch.tensor(number)
        if self.world_size > 1:
            with self._together("largest number"):
                dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.control)
        return int(found)

    def shard(self, indices: Tensor) -> Tensor:
        """This rank's part of a list: consecutive, sizes differ by one at most, may be empty."""
        return indices.tensor_split(self.world_size)[self.rank]

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Rank 0's values go to every rank, in place."""
        if self.world_size > 1 and tensors:
            with self._together(f"{len(tensors)} tensors of rank 0", layout(tensors)):
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def broadcast_object(self, value: T) -> T:
        """Rank 0's picklable value, on every rank."""
        box = [value]
        if self.world_size > 1:
            with self._together("a value of rank 0"):
                dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def all_gather_object(self, value: T) -> list[T]:
        """Every rank's picklable value, by rank, on every rank."""
        if self.world_size == 1:
            return [value]
        every: list[Any] = [None] * self.world_size
        with self._together("a value of every rank"):
            dist.all_gather_object(every, value, group=self.control)
        return every

    def on_main(self, work: Callable[[], T]) -> T:
        """What rank 0's `work()` returns, on every rank; what it raises, all ranks raise.

        An error on rank 0 alone would leave the others waiting in the next collective.
        """
        result: T | None = None
        error: Exception | None = None
        if self.is_main:
            self.heartbeat(alone=True)
            try:
                result = work()
            except Exception as caught:
                error = caught
        if self.world_size > 1:
            result, error = self.broadcast_object((result, error))
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def broadcast_masks(self, masks: Tensors) -> Tensors:
        """Rank 0's masks on every rank, sent as packed bits; the received ones are compared."""
        if self.world_size == 1:
            return masks
        bits = pack_all(masks)
        with self._together("masks of rank 0", layout(masks)):
            dist.broadcast(bits, src=0)
        agreed = unpack_all(bits, masks)
        self.check_equal(agreed, "received masks")
        return agreed

    def check_equal(self, tensors: Tensors, what: str) -> None:
        """Compares tensors that must have the same bits on all ranks.

        Raises:
            RanksDisagree: on every rank, naming the tensors, and odd ranks if there is a majority.
        """
        if self.world_size > 1:
            self.check_digests(fingerprint(tensors), what)

    def check_digests(self, mine: Digests, what: str) -> None:
        """The same, of their fingerprints; one message of 32 bytes while all are equal."""
        if self.control is None:  # one rank alone, or one of several without their group
            return
        with self._together(f"comparison of {what}", number=hashed(dict(mine))) as equal:
            pass
        error = None if equal else disagreement_error(what, self.all_gather_object(mine))
        if error:
            raise error

    def check_replicas(self, model: nn.Module, what: str, also: Tensors | None = None) -> None:
        """Compares all parameters and buffers of a network, how it computes beside them (see
        `manner`), and `also` other tensors.

        Inside a training they are equal at the end of each epoch, outside at any time.
        """
        if self.world_size > 1:
            digests = fingerprint({**all_tensors(model), **(also or {})})
            self.check_digests({**digests, **model_settings(model)}, what)

    def broadcast_running_statistics(self, model: nn.Module) -> None:
        """Rank 0's running statistics of norms, which a training lets each rank keep for itself,
        go to every rank."""
        self.broadcast(running_statistics(model))

    def wrap(
        self,
        model: nn.Module,
        rehearse: Rehearsal,
        exchange: GradientExchange = DENSE,
        live: MasksInForce | None = None,
    ) -> nn.Module:
        """The model whose backward averages gradients over ranks; buffers are never sent.

        live: see `install`; None: all entries are live.

        Raises:
            RanksDisagree: the networks are not equal. DDP would copy rank 0's over the others.
        """
        if self.world_size == 1:
            return model
        self.broadcast_running_statistics(model)
        self.check_replicas(model, "the network before a training")
        return replicate(
            model, self.device, rehearse, lambda new: register_exchange(new, exchange, live)
        )

    def barrier(self) -> None:
        """Until all ranks are here."""
        if self.world_size > 1:
            with self._together("barrier"):
                pass

    @contextmanager
    def waiting(self, place: str) -> Iterator[None]:
        """Inside, this rank says that it waits for others, and where."""
        if self.watch:
            self.watch.set_waiting(place)
        yield
        if self.watch:
            self.watch.set_waiting("")

    @contextmanager
    def _together(
        self, what: str, forms: Mapping[str, str] | None = None, number: int = 0
    ) -> Iterator[bool]:
        """Around a collective, once all ranks have come to it; whether `number` is equal on all.

        forms: what else must be. Who has not come is behind those that wait.
        """
        self.heartbeat()
        arrival = CollectiveCall(what, caller_location(), forms or {})
        with self.waiting(str(arrival)):
            equal = sync_collective(arrival, self.control, number)
        yield equal
        self.heartbeat()
