"""Simulates several ranks in one process without threads, for calls of `Mean`."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from harness.saliency.base import CalibrationData, Saliency
from harness.vocabulary.tensors import Batch, Loss, Tensors, local_mean


class Asked(Exception):
    """Signals that a rank has reached a mean whose result is not known yet."""

    def __init__(self, sums: Tensors, samples: int):
        self.sums, self.samples = sums, samples


def on_ranks(
    saliency: Saliency, model: nn.Module, shares: Sequence[list[Batch]], loss: Loss
) -> list[Tensors]:
    """Returns the statistics of every rank with its shard; all must compute the same means."""
    known: list[Tensors] = []
    while True:
        asked, done = [], []
        for share in shares:
            results = iter(known)

            def mean(sums: Tensors, samples: int, results: Any = results) -> Tensors:
                for result in results:
                    return {name: value.clone() for name, value in result.items()}
                raise Asked({name: value.clone() for name, value in sums.items()}, samples)

            try:
                done.append(saliency.statistics(CalibrationData(model, iter(share), loss, mean)))
            except Asked as one:
                asked.append(one)
        if not asked:
            return done
        assert not done
        first = asked[0].sums
        assert all(list(one.sums) == list(first) for one in asked)
        sums = {name: sum(one.sums[name] for one in asked) for name in first}
        known.append(local_mean(sums, sum(one.samples for one in asked)))


def cut(batch: Batch, *sizes: int) -> list[Batch]:
    return list(zip(*(part.split(list(sizes)) for part in batch), strict=True))
