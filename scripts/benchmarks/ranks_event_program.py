"""Runs one pruning event on the 25.5 M prunable weights of ResNet-50, with given scores."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist  # noqa: TID251 (to count what it is given)
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet50

from benchmarks.ranks_jobs import answer
from harness.allocation.global_ranking import GlobalRanking
from harness.distributed import Ranks
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.base import CalibrationData
from harness.structure.element import Element
from harness.vocabulary.tensors import Tensors, prunable_weights

DENSITIES = {"first": 0.5, "later": 0.1}
BATCH, WARM_UP = 32, 3


@dataclass(frozen=True)
class Given:
    """Scores that are there already."""

    granularity: ClassVar[str] = "weight"
    scores: Tensors

    def statistics(self, data: CalibrationData) -> Tensors:
        return {}

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return self.scores


@dataclass
class Event:
    """Does what a run does between scores and retraining, on a model of this size."""

    ranks: Ranks
    model: nn.Module
    store: MaskStore
    pruner: Pruner

    def __call__(self, density: float) -> None:
        weights = prunable_weights(self.model)
        keep = round(density * sum(weight.numel() for weight in weights.values()))
        no_data = Calibration([], F.cross_entropy, self.ranks.mean)
        self.ranks.check_equal(self.store.masks, "masks in force")
        masks = self.pruner.propose(
            self.model,
            self.store,
            Element().divide(weights),
            RequestedSize(keep, "parameters"),
            no_data,
        ).masks
        self.store.shrink_to(self.ranks.broadcast_masks(masks))
        self.store.apply_to(self.model)


def measured(ranks: Ranks, rounds: int) -> dict[str, Any]:
    """Returns seconds and received bytes of each round, per event.

    Events are "first" (of a dense model) and "later". Both numbers are those of the rank that has
    most; on CUDA there are also seconds of a training step.
    """
    torch.manual_seed(0)
    model = resnet50(weights=None).to(ranks.device)
    weights = prunable_weights(model)
    pruner = Pruner(
        Given({name: weight.abs() for name, weight in weights.items()}), Element(), GlobalRanking()
    )
    results: dict[str, Any] = {name: [] for name in DENSITIES}
    for number in range(rounds + 1):
        event = Event(ranks, model, MaskStore(weights), pruner)
        for name, density in DENSITIES.items():
            result = _observed(ranks, partial(event, density))
            # The first round warms up.
            results[name] += [result] if number else []
    if ranks.device.type == "cuda":
        results["step"] = _steps(ranks, model, len(results["first"]))
    return results


def _observed(ranks: Ranks, work: Callable[[], None]) -> dict[str, float]:
    ranks.barrier()
    before, since = at_the_interface(), time.perf_counter()
    with counted(ranks) as received:
        work()
        _synchronised(ranks)
    seconds = time.perf_counter() - since
    own = {
        "seconds": seconds,
        "bytes": sum(received),
        "interface": at_the_interface() - before,
    }
    every = ranks.all_gather_object(own)
    return {key: max(other[key] for other in every) for key in own}


def at_the_interface() -> int:
    """Returns the bytes that this host has received on the interface that gloo uses, or 0."""
    name = os.environ.get("GLOO_SOCKET_IFNAME", "")
    for line in Path("/proc/net/dev").read_text().splitlines() if name else []:
        interface, _, numbers = line.partition(":")
        if interface.strip() == name:
            return int(numbers.split()[0])
    return 0


@contextmanager
def counted(ranks: Ranks) -> Iterator[list[int]]:
    """Counts the bytes that this rank receives in each collective of torch.distributed inside."""
    received: list[int] = []
    shares: dict[str, Callable[..., int]] = {
        "broadcast": lambda tensor, src=0, **_: tensor.nbytes if ranks.rank != src else 0,
        "all_reduce": lambda tensor, *_, **__: tensor.nbytes,
        "all_gather": lambda every, own, *_, **__: (len(every) - 1) * own.nbytes,
    }
    # Both, because functions for objects call functions for tensors in their own module.
    places = (dist, dist.distributed_c10d)
    real = {name: getattr(dist, name) for name in shares}
    for name, share in shares.items():
        for place in places:
            setattr(place, name, _counting(real[name], share, received))
    try:
        yield received
    finally:
        for name, function in real.items():
            for place in places:
                setattr(place, name, function)


def _counting(
    real: Callable[..., Any], share: Callable[..., int], received: list[int]
) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        received.append(share(*arguments, **named))
        return real(*arguments, **named)

    return counting


def _steps(ranks: Ranks, model: nn.Module, count: int) -> list[dict[str, float]]:
    """Returns seconds of rank 0's steps without a gradient exchange.

    The other ranks wait, because they may share the device of rank 0.
    """
    results = []
    if ranks.is_main:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        inputs = torch.randn(BATCH, 3, 224, 224, device=ranks.device)
        labels = torch.arange(BATCH, device=ranks.device)
        for _ in range(WARM_UP + count):
            _synchronised(ranks)
            since = time.perf_counter()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            _synchronised(ranks)
            results.append({"seconds": time.perf_counter() - since})
    ranks.barrier()
    return results[WARM_UP:]


def _synchronised(ranks: Ranks) -> None:
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)


if __name__ == "__main__":
    if torch.cuda.device_count() == 1:
        os.environ["LOCAL_RANK"] = "0"  # they share it
    answer(measured)
