"""Decides the order of samples from seed, level and epoch, never from the ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.distributed import Ranks
from harness.vocabulary.seeds import derive


@dataclass(frozen=True)
class MicroBatch:
    """Holds the samples of one backward pass of one rank (gradient accumulation)."""

    indices: Tensor  # int64, never empty
    scale: float  # factor of the summed loss: DDP's mean over ranks is the global batch's mean
    last: bool  # the optimizer steps after it
    number: int = 0  # of its global batch in the epoch
    before: Tensor | None = None  # the sample before the first one, where samples are mixed

    @property
    def read(self) -> Tensor:
        """Returns the samples that are read: where they are mixed, each follows its partner."""
        return self.indices if self.before is None else torch.cat([self.before, self.indices])


def epoch_order(samples: int, seed: int, level: int | str, epoch: int) -> Tensor:
    """Returns a permutation of all samples, the same for every number of ranks."""
    stream = torch.Generator().manual_seed(derive(seed, "order", level, epoch))
    return torch.randperm(samples, generator=stream)


def batch_sizes(order: Tensor, batch_size: int, weights: Tensor | None) -> list[float]:
    """Returns the divisor of each global batch's loss: its samples, each times its weight.

    The result is the same on every rank, because each knows the labels of all samples.

    Args:
        order: Order of the samples.
        batch_size: Global batch size.
        weights: Counted fraction of each sample of the split, in [0, 1], on the CPU as `order` is.
            None counts all.
    """
    batches = order.split(batch_size)
    return [len(batch) if weights is None else float(weights[batch].sum()) for batch in batches]


def micro_batches(
    order: Tensor,
    batch_size: int,
    ranks: Ranks,
    accumulate: int,
    sizes: Sequence[float] | None = None,
    mixed: bool = False,
) -> Iterator[MicroBatch]:
    """Yields this rank's micro-batches of every global batch. The last batch may be partial.

    A rank without a sample of the last batch computes one sample with scale 0: it must take part in
    the all-reduce, but not in the mean. So do all ranks in a batch without counted samples.

    Args:
        order: Order of the samples.
        batch_size: Global batch size.
        ranks: Ranks that share each batch.
        accumulate: Number of micro-batches per step and rank.
        sizes: Result of `batch_sizes`. None counts every sample.
        mixed: Whether each sample is mixed with the one before it in the global batch.
    """
    for number, batch in enumerate(order.split(batch_size)):
        shard = ranks.shard(batch)
        size = len(batch) if sizes is None else sizes[number]
        scale = ranks.world_size / size if len(shard) and size else 0.0
        parts = [part for part in shard.tensor_split(accumulate) if len(part)] or [batch[:1]]
        # The partner of each sample, cut in the same way.
        partners = ranks.shard(batch.roll(1)).tensor_split(accumulate) if mixed else ()
        first = [part[:1] for part in partners if len(part)] or [batch[-1:]]
        for index, part in enumerate(parts):
            before = first[index] if mixed else None
            yield MicroBatch(part, scale, index + 1 == len(parts), number, before)


def slice_steps(first: int, last: int, plan: list[MicroBatch]) -> list[MicroBatch]:
    """Returns the micro-batches of an epoch's optimizer steps `first` to `last`, without `last`."""
    ends = [0, *(number for number, micro_batch in enumerate(plan, start=1) if micro_batch.last)]
    return plan[ends[first] : ends[last]]


def steps_per_epoch(samples: int, batch_size: int) -> int:
    return -(-samples // batch_size)
