"""Compares the harness's training loop with a loop written by hand for the same training."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.figure import Figure, Side, in_turns, ratio
from benchmarks.task import (
    BATCH,
    LEVEL,
    OPTIMIZERS,
    SEED,
    build_model,
    checked_difference,
    context,
    recipe,
    splits,
)
from harness.data.base import Split
from harness.training.batches.batching import epoch_order
from harness.training.context import Hooks

REPEATS, EPOCHS, QUICK_EPOCHS = 11, 20, 2


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Returns one figure per optimizer.

    Raises:
        RuntimeError: the two loops do not give the same model.
    """
    epochs = QUICK_EPOCHS if quick else EPOCHS
    for optimizer in OPTIMIZERS:
        difference = compared(optimizer, epochs)
        harness = partial(train, optimizer=optimizer, epochs=epochs)
        bare = partial(train_bare, optimizer=optimizer, epochs=epochs)
        sides = {"harness": Side(build_model, harness), "bare": Side(build_model, bare)}
        yield ratio(
            f"loop: harness / bare, {optimizer}",
            in_turns(sides, repeats or REPEATS),
            "harness",
            "bare",
            at_most=1.15,
            largest_weight_difference=difference,
        )


def compared(optimizer: str, epochs: int) -> float:
    """Returns the largest difference of the final weights of both loops; it was 0 so far.

    Raises:
        RuntimeError: the difference is more than rounding, or accuracies differ.
    """
    ours, bare = build_model(), build_model()
    accuracies = train(ours, optimizer, epochs), train_bare(bare, optimizer, epochs)
    difference = checked_difference(ours.state_dict(), bare.state_dict(), "bare loop")
    if accuracies[0] != accuracies[1]:
        raise RuntimeError(f"validation accuracies differ: {accuracies}; compare the evaluations")
    return difference


def train(model: nn.Module, optimizer: str, epochs: int) -> list[float]:
    """Trains with the harness; returns validation accuracy after every epoch."""
    return recipe(optimizer, epochs).fit(model, context(validates=True), Hooks()).curve.validation


def train_bare(model: nn.Module, optimizer: str, epochs: int) -> list[float]:
    """Trains with the loop written by hand; returns validation accuracy after every epoch."""
    train = splits().train
    stepper = OPTIMIZERS[optimizer](model.parameters())
    accuracies = []
    for epoch in range(epochs):
        model.train()
        for chosen in epoch_order(len(train), SEED, LEVEL, epoch).split(BATCH):
            # inputs[chosen] gives the same, but takes five times as long.
            inputs, labels = train.inputs.index_select(0, chosen), train.labels[chosen]
            stepper.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs), labels).backward()
            stepper.step()
        accuracies.append(evaluate_bare(model, splits().validation))
    return accuracies


@torch.no_grad()
def evaluate_bare(model: nn.Module, split: Split) -> float:
    model.eval()
    hits, loss = 0, 0.0
    for inputs, labels in zip(split.inputs.split(1000), split.labels.split(1000), strict=True):
        outputs = model(inputs)
        hits += int((outputs.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(outputs, labels, reduction="sum"))
    return hits / len(split)
