"""The steps of an epoch on every rank of a group, without a group."""

import torch

from harness.distributed import Ranks
from harness.training.batching import Portion, portions


def group(count: int) -> list[Ranks]:
    return [Ranks(rank, count) for rank in range(count)]


def steps(
    order: torch.Tensor,
    batch_size: int,
    ranks: Ranks,
    accumulate: int,
    sizes: list[float] | None = None,
) -> list[list[Portion]]:
    """This rank's portions, one list per optimizer step."""
    found: list[list[Portion]] = [[]]
    for portion in portions(order, batch_size, ranks, accumulate, sizes):
        found[-1].append(portion)
        if portion.last:
            found.append([])
    assert not found[-1]
    return found[:-1]
