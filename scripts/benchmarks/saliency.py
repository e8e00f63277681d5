"""Measures each saliency on LeNet-5 and ResNet-20: time in training epochs, memory in MB."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from benchmarks import selection
from benchmarks.figure import Figure, Note, spread
from benchmarks.memory import extra_megabytes
from benchmarks.task import splits
from harness.allocation.global_ranking import GlobalRanking
from harness.groups.units import weights_of
from harness.launch.instantiate import build_named
from harness.launch.paths import CONF
from harness.models.lenet_5 import LeNet5
from harness.models.mlp import Mlp
from harness.models.resnet_cifar import ResNetCifar
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.vocabulary.tensors import Batch, local_mean

DENSITY, BATCH, STEPS, REPEATS = 0.1, 128, 20, 3


@dataclass(frozen=True)
class Case:
    """Holds a model, the samples of a saliency, and the samples of an epoch."""

    name: str
    model: nn.Module
    inputs: Tensor
    labels: Tensor
    epoch: int  # samples

    def batches(self) -> list[Batch]:
        return list(zip(self.inputs.split(BATCH), self.labels.split(BATCH), strict=True))

    def epoch_seconds(self) -> float:
        """Returns seconds per epoch of SGD with momentum, batch size 128, by the median step."""
        model = self.model
        optimizer = SGD(model.parameters(), lr=1e-6, momentum=0.9)
        inputs, labels = self.batches()[0]
        times = []
        for _ in range(STEPS):
            since = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(model.train()(inputs), labels).backward()
            optimizer.step()
            times.append(time.perf_counter() - since)
        optimizer.zero_grad()
        return median(times) * self.epoch / len(labels)


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Measures statistics, scores, masks and moved weights of each saliency at density 0.1.

    The first figure is common to all: exact selection over 25.5 M scores.
    """
    yield from selection.figures(repeats, quick)
    for case in cases(quick):
        epoch = case.epoch_seconds()
        text = f"{epoch:.2f} s for {case.epoch} samples; {len(case.labels)} calibration samples"
        yield Note(f"{case.name}: a training epoch", text)
        for file in sorted((CONF / "saliency").glob("*.yaml")):
            yield from costs(case, file.stem, epoch, 1 if quick else repeats or REPEATS)


def costs(case: Case, name: str, epoch: float, repeats: int) -> Iterator[Figure | Note]:
    try:
        event = Event(case, build_named("saliency", name, seed=0))
        extra = extra_megabytes(event.propose)
        times = [event.seconds() / epoch for _ in range(repeats)]
    except ValueError as error:  # no norm to score, or more memory than is allowed
        yield Note(f"{case.name}: {name}", str(error))
        return
    yield spread(f"{case.name}: {name} / epoch", "ratio", times)
    if not math.isnan(extra):
        yield spread(f"{case.name}: {name}, extra memory", "MB", [extra])


class Event:
    """Prunes a copy of the model once, including the weights that a saliency updates."""

    def __init__(self, case: Case, saliency: Any):
        structure = "row" if saliency.granularity == "unit" else "element"
        self.case = case
        self.pruner = Pruner(saliency, build_named("structure", structure, seed=0), GlobalRanking())
        self.units = self.pruner.structure.units(case.model, case.inputs[:2])
        self.store = make_mask_store(case.model, self.units)
        held = sum(case.model.get_parameter(name).numel() for name in weights_of(self.units))
        self.goal = RequestedSize(round(DENSITY * held), "parameters")

    def propose(self) -> object:
        data = Calibration(self.case.batches(), summed, local_mean)
        decision = self.pruner.propose(self.case.model, self.store, self.units, self.goal, data)
        return decision.updated_weights(decision.masks)

    def seconds(self) -> float:
        since = time.perf_counter()
        self.propose()
        return time.perf_counter() - since


def summed(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="sum")


def cases(quick: bool) -> Iterator[Case]:
    torch.manual_seed(0)
    data = splits()
    train = data.train
    if quick:
        small = Mlp(hidden=[32, 32], batch_norm=True).build(data.shape, data.classes)
        yield Case("MLP", small, train.inputs[:8], train.labels[:8], len(train))
        return
    lenet = LeNet5().build(data.shape, data.classes)
    yield Case("LeNet-5", lenet, train.inputs[:512], train.labels[:512], len(train))
    # Of CIFAR-10's size; the time of a step does not depend on the values of pixels.
    inputs, labels = torch.randn(128, 3, 32, 32), torch.arange(128) % 10
    network = ResNetCifar(shortcut="projection").build((3, 32, 32), 10)
    yield Case("ResNet-20", network, inputs, labels, 50_000)
