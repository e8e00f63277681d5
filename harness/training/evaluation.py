"""Accuracy and loss over a whole split: sums over samples, divided once."""

from dataclasses import dataclass

import torch
from torch import nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.base import Task
from harness.tensors import evaluating


@dataclass(frozen=True)
class Measured:
    top1: float  # share of samples, in [0, 1]
    top5: float
    loss: float  # mean per sample


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, task: Task, ranks: Ranks, batch_size: int = 1000
) -> Measured:
    """Every sample counts once, whatever the batches and ranks; full precision, eval mode.

    Each rank takes its share; a last partial batch weighs by its size. BatchNorm statistics are
    rank 0's. The model's mode comes back as it was.

    Raises:
        ValueError: the split is empty.
    """
    if len(split) == 0:
        raise ValueError("cannot evaluate on 0 samples; give the split at least 1")
    ranks.send(list(model.buffers()))
    sums = torch.zeros(3, dtype=torch.float64, device=ranks.device)
    mine = ranks.share(torch.arange(len(split)))
    with evaluating(model):
        for inputs, labels in split.batches(mine.split(batch_size)):
            if len(labels):
                found = task.measure(model(inputs), labels)
                sums += torch.stack([found[key].double() for key in ("top1", "top5", "loss")])
    top1, top5, loss = (ranks.sum(sums) / len(split)).tolist()
    return Measured(top1, top5, loss)
