"""Returns the steps of an epoch on every rank of a group, without a group."""

import torch

from harness.distributed import Ranks
from harness.training.batches.batching import MicroBatch, micro_batches


def group(count: int) -> list[Ranks]:
    return [Ranks(rank, count) for rank in range(count)]


def steps(
    order: torch.Tensor,
    batch_size: int,
    ranks: Ranks,
    accumulate: int,
    sizes: list[float] | None = None,
    mixed: bool = False,
) -> list[list[MicroBatch]]:
    """Returns this rank's micro_batches, one list per optimizer step."""
    found: list[list[MicroBatch]] = [[]]
    for micro_batch in micro_batches(order, batch_size, ranks, accumulate, sizes, mixed):
        found[-1].append(micro_batch)
        if micro_batch.last:
            found.append([])
    assert not found[-1]
    return found[:-1]
