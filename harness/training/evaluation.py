"""Accuracy and loss over a whole split: sums over samples, divided once by what counts."""

from dataclasses import dataclass

import torch
from torch import nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.base import Task, sample_weights
from harness.vocabulary.tensors import eval_mode


@dataclass(frozen=True)
class EvaluationResult:
    top1: float  # share of the samples (or positions) that count, in [0, 1]
    top5: float
    loss: float  # mean over them


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, task: Task, ranks: Ranks, batch_size: int = 1000
) -> EvaluationResult:
    """Every sample counts once, whatever the batches and ranks; full precision, eval mode.

    Each rank takes its share; a last partial batch weighs by its size. BatchNorm statistics are
    rank 0's; all else must be equal on all ranks. The model comes back as it was.

    Raises:
        ValueError: the split is empty, or none of its labels counts.
        RanksDisagree: the ranks' networks differ.
    """
    ranks.broadcast_running_statistics(model)
    ranks.check_replicas(model, "the network before a measurement")
    return evaluate_compared(model, split, task, ranks, batch_size)


@torch.no_grad()
def evaluate_compared(
    model: nn.Module, split: Split, task: Task, ranks: Ranks, batch_size: int = 1000
) -> EvaluationResult:
    """As `evaluate`, of networks that were compared already."""
    if len(split) == 0:
        raise ValueError("cannot evaluate on 0 samples; give the split at least 1")
    sums = torch.zeros(4, dtype=torch.float64, device=ranks.device)
    mine = ranks.shard(torch.arange(len(split)))
    with eval_mode(model):
        for inputs, labels in split.batches(mine.split(batch_size)):
            if len(labels):
                found = task.measure(model(inputs), labels)
                parts = [found[key].double() for key in ("top1", "top5", "loss")]
                sums += torch.stack([*parts, sample_weights(task, labels).sum()])
    *totals, counted = ranks.sum(sums)
    if not counted:
        raise ValueError(f"no label of these {len(split)} samples counts; give them labels")
    top1, top5, loss = (torch.stack(totals) / counted).tolist()
    return EvaluationResult(top1, top5, loss)
