"""Evaluates accuracy and loss over a whole split: sums over samples, divided once."""

from dataclasses import dataclass

import torch
from torch import nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.base import Task, perplexity, sample_weights
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.tensors import eval_mode


@dataclass(frozen=True)
class EvaluationResult:
    top1: float  # fraction of the samples (or positions) that count, in [0, 1]
    top5: float
    loss: float  # mean over what counts
    perplexity: float | None = None  # exp(loss) of a task whose loss is in nats per token, >= 1


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, task: Task, ranks: Ranks, batch_size: int = 1000
) -> EvaluationResult:
    """Evaluates the model in full precision and eval mode. Every sample counts once.

    Each rank evaluates its shard, and a last partial batch weighs by its size. BatchNorm statistics
    are rank 0's; all else must be equal on all ranks. The model is left unchanged.

    Raises:
        ValueError: The split is empty, or none of its labels counts.
        RanksDisagree: The ranks' models differ.
    """
    ranks.broadcast_running_statistics(model)
    ranks.check_replicas(model, "the model before evaluation")
    return evaluate_compared(model, split, task, ranks, batch_size)


@torch.no_grad()
def evaluate_compared(
    model: nn.Module, split: Split, task: Task, ranks: Ranks, batch_size: int = 1000
) -> EvaluationResult:
    """Evaluates as `evaluate` does, for models that were compared already."""
    if len(split) == 0:
        raise ValueError("cannot evaluate on 0 samples; give the split at least 1")
    sums = torch.zeros(4, dtype=torch.float64, device=ranks.device)
    shard = ranks.shard(torch.arange(len(split)))
    with eval_mode(model):
        for inputs, labels in split.batches(shard.split(batch_size)):
            if len(labels):
                measures = task.measure(call_model(model, inputs), labels)
                parts = [measures[key].double() for key in ("top1", "top5", "loss")]
                sums += torch.stack([*parts, sample_weights(task, labels).sum()])
    *totals, counted = ranks.sum(sums)
    if not counted:
        raise ValueError(f"no label of these {len(split)} samples counts; give them labels")
    top1, top5, loss = (torch.stack(totals) / counted).tolist()
    return EvaluationResult(top1, top5, loss, perplexity(task, loss))
