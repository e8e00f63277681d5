"""Simulates several ranks in one process without threads, for calls of `Mean`."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from harness.saliency.base import CalibrationData, Saliency
from harness.vocabulary.tensors import Batch, Loss, Tensors, local_mean


class MeanRequested(Exception):
    """Signals that a rank has reached a mean whose result is not known yet."""

    def __init__(self, sums: Tensors, samples: int):
        self.sums, self.samples = sums, samples


def on_ranks(
    saliency: Saliency, model: nn.Module, shares: Sequence[list[Batch]], loss: Loss
) -> list[Tensors]:
    """Returns the statistics of every rank with its shard; all must compute the same means."""
    known: list[Tensors] = []
    while True:
        waiting, done = [], []
        for share in shares:
            results = iter(known)

            def mean(sums: Tensors, samples: int, results: Any = results) -> Tensors:
                for result in results:
                    return {name: value.clone() for name, value in result.items()}
                raise MeanRequested({name: value.clone() for name, value in sums.items()}, samples)

            try:
                done.append(saliency.statistics(CalibrationData(model, iter(share), loss, mean)))
            except MeanRequested as request:
                waiting.append(request)
        if not waiting:
            return done
        assert not done
        first = waiting[0].sums
        assert all(list(request.sums) == list(first) for request in waiting)
        sums = {name: sum(request.sums[name] for request in waiting) for name in first}
        known.append(local_mean(sums, sum(request.samples for request in waiting)))


def cut(batch: Batch, *sizes: int) -> list[Batch]:
    return list(zip(*(part.split(list(sizes)) for part in batch), strict=True))
