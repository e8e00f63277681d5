"""In which order samples are seen. It depends on seed, level and epoch, never on the ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.distributed import Ranks
from harness.vocabulary.seeds import derive


@dataclass(frozen=True)
class MicroBatch:
    """What one rank computes between two all-reduces or, accumulating, between two backwards."""

    indices: Tensor  # int64, never empty
    scale: float  # of the summed loss, so that DDP's mean over ranks is the global batch's mean
    last: bool  # the optimizer steps after it


def epoch_order(samples: int, seed: int, level: int | str, epoch: int) -> Tensor:
    """A permutation of all samples, the same for every number of ranks."""
    stream = torch.Generator().manual_seed(derive(seed, "order", level, epoch))
    return torch.randperm(samples, generator=stream)


def batch_sizes(order: Tensor, batch_size: int, shares: Tensor | None) -> list[float]:
    """What each global batch's sum is divided by: its samples, each as far as it counts.

    shares: of each sample of the split, in [0, 1], on the CPU as `order` is; None: all count.
    The same on every rank, whichever samples it has: each knows the labels of all.
    """
    batches = order.split(batch_size)
    return [len(one) if shares is None else float(shares[one].sum()) for one in batches]


def micro_batches(
    order: Tensor,
    batch_size: int,
    ranks: Ranks,
    accumulate: int,
    sizes: Sequence[float] | None = None,
) -> Iterator[MicroBatch]:
    """This rank's part of every global batch; the last batch may be partial.

    sizes: as of `batch_sizes`; None: the number of samples. A rank without a sample of the last
    batch computes one of them with scale 0: it must take part in the all-reduce, but not in the
    mean. So do all ranks in a batch of which nothing counts.
    """
    for number, batch in enumerate(order.split(batch_size)):
        mine = ranks.shard(batch)
        size = len(batch) if sizes is None else sizes[number]
        scale = ranks.world_size / size if len(mine) and size else 0.0
        parts = [part for part in mine.tensor_split(accumulate) if len(part)] or [batch[:1]]
        for index, part in enumerate(parts, start=1):
            yield MicroBatch(part, scale, last=index == len(parts))


def slice_steps(first: int, last: int, plan: list[MicroBatch]) -> list[MicroBatch]:
    """What an epoch's optimizer steps from `first` up to `last` compute."""
    ends = [0, *(number for number, micro_batch in enumerate(plan, start=1) if micro_batch.last)]
    return plan[ends[first] : ends[last]]


def steps_per_epoch(samples: int, batch_size: int) -> int:
    return -(-samples // batch_size)
