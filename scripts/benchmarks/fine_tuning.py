"""Training steps of networks cut to half of their multiply-accumulates, over the masked ones.

Seconds are CPU seconds of one thread.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

import harness
from benchmarks.figure import Figure, Note, Side, in_turns, ratio
from harness.allocation.uniform import Uniform
from harness.metrics.macs import macs
from harness.models.resnet_18 import ResNet18
from harness.models.shared.scaled_model import ScaledModel
from harness.models.vgg_bn import VggBn
from harness.pruning.masks import MaskStore
from harness.vocabulary.tensors import Tensors

MODELS: dict[str, type[ScaledModel]] = {"ResNet-18": ResNet18, "VGG-16-BN": VggBn}
REPEATS, AT_MOST = 5, 0.65
SHAPE, CLASSES = (3, 32, 32), 10
BATCH, STEPS = 128, 1  # of a round
QUICK_WIDTH, QUICK_BATCH = 0.125, 16
LR, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True)
class Training:
    """Trains a network on one batch, with masked gradients where masks are given."""

    network: nn.Module
    optimizer: SGD
    store: MaskStore | None

    @classmethod
    def of(cls, network: nn.Module, masks: Tensors | None = None) -> "Training":
        store = None
        if masks is not None:
            store = MaskStore({name: network.get_parameter(name) for name in masks})
            store.shrink_to(masks)
        optimizer = SGD(network.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
        return cls(network.train(), optimizer, store)

    def steps(self, batch: tuple[Tensor, Tensor], count: int) -> None:
        mask_gradients = self.store.gradient_masker(self.network) if self.store else None
        inputs, labels = batch
        for _ in range(count):
            self.optimizer.zero_grad()
            F.cross_entropy(self.network(inputs), labels).backward()
            if mask_gradients:
                mask_gradients()
            self.optimizer.step()


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Returns for each model compacted / masked, and masked / masked, the noise of it."""
    width, size = (QUICK_WIDTH, QUICK_BATCH) if quick else (1.0, BATCH)
    for name, kind in MODELS.items():
        torch.manual_seed(0)
        model = kind(width_factor=width).build(SHAPE, CLASSES)
        batch = torch.randn(size, *SHAPE), torch.randint(CLASSES, (size,))
        dense = macs(model, SHAPE)
        masks = halve(model, batch[0][:2])
        small = harness.compact(model, masks, batch[0][:2])
        yield Note(f"fine_tuning: {name}", f"MACs left {macs(small, SHAPE) / dense:.3f}")
        yield from compared(name, small, model, masks, batch, repeats or REPEATS)


def halve(model: nn.Module, inputs: Tensor) -> Tensors:
    """Prunes the smallest filters; sqrt(0.5) of rows and of columns multiply half as often."""
    allocation = Uniform(min_units=1)
    return harness.prune(
        model, 0.5**0.5, structure="filter", allocation=allocation, example_input=inputs
    )


def compared(
    name: str,
    small: nn.Module,
    model: nn.Module,
    masks: Tensors,
    batch: tuple[Tensor, Tensor],
    repeats: int,
) -> Iterator[Figure]:
    work = partial(Training.steps, batch=batch, count=STEPS)
    compacted, masked = Training.of(small), Training.of(model, masks)
    sides = {
        "masked": Side(lambda: masked, work),
        "compacted": Side(lambda: compacted, work),
        "masked again": Side(lambda: masked, work),
    }
    seconds = in_turns(sides, repeats, clock=time.process_time)
    title = f"fine_tuning: {name}, compacted / masked"
    yield ratio(title, seconds, "compacted", "masked", at_most=AT_MOST)
    yield ratio(f"fine_tuning: {name}, masked / itself", seconds, "masked again", "masked")
