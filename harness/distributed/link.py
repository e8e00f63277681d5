"""Whether sending live gradients only is worth it here: what wire and device cost, and a choice."""

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from statistics import median
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.distributed.exchange import Exchange, Live, Packing
from harness.distributed.ranks import Ranks
from harness.tensors import Tensors

MIB = 2**20
# Below it a step is short either way, and the bits of a small run depend on no clock.
WORTH_MEASURING = MIB
# A choice within the noise of the measurement would change from run to run.
CLEARLY_FASTER = 0.8


@dataclass(frozen=True)
class Link:
    """What an all-reduce costs on the wire."""

    seconds_per_byte: float
    seconds_per_message: float

    def seconds(self, size: float) -> float:
        """Of one all-reduce of `size` bytes."""
        return self.seconds_per_message + self.seconds_per_byte * size


@dataclass(frozen=True)
class Local:
    """What packing and unpacking cost on a rank's own device."""

    seconds_per_entry: float
    seconds_per_live_entry: float

    def seconds(self, entries: int, live_entries: int) -> float:
        return self.seconds_per_entry * entries + self.seconds_per_live_entry * live_entries


class Load(NamedTuple):
    """What a backward has to exchange."""

    live_entries: int
    entries: int
    bytes_per_entry: float


def choose(
    ranks: Ranks, model: nn.Module, live: Live | None = None, dtype: torch.dtype | None = None
) -> Exchange:
    """The exchange that options ask for; for "auto" the faster one here, equal on all ranks.

    "auto" is dense without a measurement in one process, if nothing is pruned, and below 1 MiB
    of gradients (as sent). Otherwise wire and device are measured, once per `ranks`.
    """
    asked = ranks.options.exchange
    if ranks.count == 1 or asked == "dense":
        return Exchange(False, dtype)
    load = load_of(model, live() if live else {}, dtype)
    return Exchange(asked == "sparse" or _sparse_pays(ranks, load), dtype)


def prefer_sparse(
    link: Link, live_entries: int, entries: int, bytes_per_entry: float, local: Local
) -> bool:
    """Whether sending live entries, packing included, clearly beats sending all.

    >>> link, local = Link(8e-8, 1e-4), Local(1e-10, 4e-9)  # 100 Mbit/s, one core
    >>> prefer_sparse(link, 100_000, 1_000_000, 4, local)
    True
    >>> prefer_sparse(link, 900_000, 1_000_000, 4, local)
    False
    """
    dense = link.seconds(entries * bytes_per_entry)
    sparse = link.seconds(live_entries * bytes_per_entry) + local.seconds(entries, live_entries)
    return sparse < CLEARLY_FASTER * dense


def load_of(model: nn.Module, masks: Tensors, dtype: torch.dtype | None) -> Load:
    """Of all parameters that get a gradient; sent in `dtype`, or in their own."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    entries = sum(p.numel() for p in trained.values())
    pruned = sum(int((~masks[name]).sum()) for name in trained.keys() & masks.keys())
    size = sum(p.numel() * (dtype or p.dtype).itemsize for p in trained.values())
    return Load(entries - pruned, entries, size / max(entries, 1))


def measure_link(ranks: Ranks) -> Link:
    """Rank 0's medians, on every rank; some 3 MiB cross the wire."""
    tiny = _seconds(_all_reduce(ranks, torch.zeros(1, device=ranks.device)), times=7)
    large = _seconds(_all_reduce(ranks, torch.zeros(MIB // 4, device=ranks.device)), times=3)
    return ranks.send_object(Link(max(large - tiny, 0.0) / MIB, tiny))


def measure_local(ranks: Ranks) -> Local:
    """Rank 0's medians, on every rank; of a bucket with one live entry in eight."""
    bucket = torch.zeros(MIB, device=ranks.device)
    live = torch.arange(0, MIB, 8, device=ranks.device)
    packing = Packing(bucket, live, None, ranks.count)

    def there_and_back() -> Tensor:
        packing.pack(bucket)
        return packing.unpack(bucket)

    zeroing = _seconds(bucket.zero_, times=5)
    both = _seconds(there_and_back, times=5)
    costs = Local(zeroing / MIB, max(both - zeroing, 0.0) / live.numel())
    return ranks.send_object(costs)


# By value: two `Ranks` are equal only if they are of the same group. Weakly: a cache must not keep
# a group alive that was left.
_measured: WeakKeyDictionary[Ranks, tuple[Link, Local]] = WeakKeyDictionary()


def measured(ranks: Ranks) -> list[float] | None:
    """What `choose` has measured in this group, for a checkpoint; None if nothing."""
    found = _measured.get(ranks)
    return found and [*astuple(found[0]), *astuple(found[1])]


def remember(ranks: Ranks, costs: list[float] | None) -> None:
    """Lets `choose` go by what an earlier start has `measured`: it may decide the last bits."""
    if costs:
        _measured[ranks] = Link(*costs[:2]), Local(*costs[2:])


def _sparse_pays(ranks: Ranks, load: Load) -> bool:
    size = load.entries * load.bytes_per_entry
    if load.live_entries == load.entries or size < WORTH_MEASURING:
        return False
    if ranks not in _measured:
        _measured[ranks] = measure_link(ranks), measure_local(ranks)
    link, local = _measured[ranks]
    return prefer_sparse(link, *load, local)


def _all_reduce(ranks: Ranks, tensor: Tensor) -> Callable[[], Tensor]:
    def work() -> Tensor:
        # Not by `ranks`, which would count what ranks say before it.
        dist.all_reduce(tensor)
        ranks.alive()
        return tensor

    return work


def _seconds(work: Callable[[], Tensor], times: int) -> float:
    """Median over `times` runs; the first, which sets things up, is an outlier among them."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()[:1].item()  # waits for a device that works on its own
        taken.append(time.perf_counter() - begin)
    return median(taken)
