"""In which order samples are seen. It depends on seed, level and epoch, never on the ranks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.distributed import Ranks
from harness.seeds import derive


@dataclass(frozen=True)
class Portion:
    """What one rank computes between two all-reduces or, accumulating, between two backwards."""

    indices: Tensor  # int64, never empty
    scale: float  # of the summed loss, so that DDP's mean over ranks is the global batch's mean
    last: bool  # the optimizer steps after it


def epoch_order(samples: int, seed: int, level: int | str, epoch: int) -> Tensor:
    """A permutation of all samples, the same for every number of ranks."""
    stream = torch.Generator().manual_seed(derive(seed, "order", level, epoch))
    return torch.randperm(samples, generator=stream)


def portions(order: Tensor, batch_size: int, ranks: Ranks, accumulate: int) -> Iterator[Portion]:
    """This rank's part of every global batch; the last batch may be partial.

    A rank without a sample of the last batch computes one of them with scale 0: it must take
    part in the all-reduce, but not in the mean.
    """
    for batch in order.split(batch_size):
        mine = ranks.share(batch)
        scale = ranks.count / len(batch) if len(mine) else 0.0
        parts = [part for part in mine.tensor_split(accumulate) if len(part)] or [batch[:1]]
        for number, part in enumerate(parts, start=1):
            yield Portion(part, scale, last=number == len(parts))


def between(first: int, last: int, plan: list[Portion]) -> list[Portion]:
    """What an epoch's optimizer steps from `first` up to `last` compute."""
    ends = [0, *(number for number, portion in enumerate(plan, start=1) if portion.last)]
    return plan[ends[first] : ends[last]]


def steps_per_epoch(samples: int, batch_size: int) -> int:
    return -(-samples // batch_size)
