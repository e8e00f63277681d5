"""Compaction with its proof over an epoch of fine-tuning, and the time to find groups.

Seconds are CPU seconds of one thread.
"""

import time
from collections.abc import Iterator
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

import harness
from benchmarks.figure import Figure, Note, Side, duration, in_turns, ratio
from benchmarks.fine_tuning import CLASSES, SHAPE, Training, halve
from harness.groups.find import groups_of
from harness.models.resnet_cifar import ResNetCifar

REPEATS, BATCH, STEPS = 5, 128, 8
SAMPLES = 50_000
AT_MOST_OF_LEVEL, AT_MOST_S = 0.05, 1.0
SIDE, QUICK_WIDTH = 64, 0.25


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Returns the share of a level that compaction takes, and the seconds of groups of ResNet-50.

    The level is taken to be one epoch of 50,000 images of the compacted network and nothing else,
    and the epoch to be as long as its steps: a few are timed.
    """
    yield from share_of_level(repeats or REPEATS, quick)
    yield from groups_of_resnet_50(repeats or REPEATS)


def share_of_level(repeats: int, quick: bool) -> Iterator[Figure | Note]:
    torch.manual_seed(0)
    model = ResNetCifar(width_factor=QUICK_WIDTH if quick else 1.0).build(SHAPE, CLASSES)
    batch = torch.randn(BATCH, *SHAPE), torch.randint(CLASSES, (BATCH,))
    masks = halve(model, batch[0][:2])
    compact = partial(harness.compact, model, masks, batch[0][:2])
    training, count = Training.of(compact()), 1 if quick else STEPS
    sides = {
        "compaction": Side(lambda: None, lambda _: compact()),
        "compaction again": Side(lambda: None, lambda _: compact()),
        "steps": Side(lambda: training, lambda each: each.steps(batch, count)),
    }
    seconds = in_turns(sides, repeats, clock=time.process_time)
    epoch = -(-SAMPLES // BATCH)
    whole = {**seconds, "level": [epoch / count * s for s in seconds["steps"]]}
    yield Note("removal: level", f"{epoch} steps of {BATCH}, scaled from {count} of each round")
    title = "removal: with proof, ResNet-20 / a level"
    yield ratio(title, whole, "compaction", "level", at_most=AT_MOST_OF_LEVEL)
    yield ratio("removal: with proof / itself", seconds, "compaction again", "compaction")
    yield duration("removal: with proof, ResNet-20", seconds, "compaction")


def groups_of_resnet_50(repeats: int) -> Iterator[Figure]:
    model = torchvision.models.resnet50(weights=None)
    work = partial(found, model)
    inputs = torch.randn(2, 3, SIDE, SIDE)
    sides = dict.fromkeys(("groups", "groups again"), Side(lambda: inputs, work))
    seconds = in_turns(sides, repeats, clock=time.process_time)
    yield duration("removal: groups of ResNet-50", seconds, "groups", at_most=AT_MOST_S)
    yield ratio("removal: groups / itself", seconds, "groups again", "groups")


def found(model: nn.Module, inputs: Tensor) -> int:
    return len(groups_of(model, inputs))
