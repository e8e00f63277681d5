"""Evaluates accuracy and loss over a whole split: sums over samples, divided once."""

from dataclasses import dataclass, field
from math import nan

import torch
from torch import Tensor, nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.base import Task, perplexity, primary_of, sample_weights
from harness.task.shared.measures import TOP1
from harness.task.shared.torch_metrics import MetricStates
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.tensors import Tensors, eval_mode


@dataclass(frozen=True)
class EvaluationResult:
    """Holds what a model achieves on a split.

    Args:
        top1: fraction of the samples (or positions) that count, in [0, 1]; None for other tasks.
        top5: likewise.
        loss: mean over what counts.
        perplexity: exp(loss) of a task whose loss is in nats per token, >= 1.
        measures: all other measures, by name.
        primary: name of the measure that reports show.
    """

    top1: float | None
    top5: float | None
    loss: float
    perplexity: float | None = None
    measures: dict[str, float] = field(default_factory=dict)
    primary: str = TOP1.name

    @property
    def value(self) -> float:
        """Returns the primary measure."""
        found = {"top1": self.top1, **self.measures}[self.primary]
        return nan if found is None else found


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
    sums, counted = dict[str, Tensor](), torch.zeros((), dtype=torch.float64, device=ranks.device)
    states = MetricStates(getattr(task, "metrics", ()))
    shard = ranks.shard(torch.arange(len(split)))
    # A rank without samples computes one that does not count: it has to know the sums' shapes.
    counts, indices = len(shard) > 0, shard if len(shard) else torch.arange(1)
    with eval_mode(model):
        for inputs, labels in split.batches(indices.split(batch_size)):
            outputs = call_model(model, inputs)
            for name, value in task.measure(outputs, labels).items():
                own = value.double() if counts else torch.zeros_like(value, dtype=torch.float64)
                sums[name] = sums[name] + own if name in sums else own
            counted += sample_weights(task, labels).sum() * counts
            if states.names and counts:
                states.update(task.metric_inputs(outputs, labels))  # type: ignore[attr-defined]
    totals, everything = _over_ranks(sums, counted, ranks)
    if not everything:
        raise ValueError(f"no label of these {len(split)} samples counts; give them labels")
    found = _results(task, totals, everything) | states.results(ranks.all_gather_object)
    loss, top1, top5 = (found.pop(name, None) for name in ("loss", "top1", "top5"))
    assert loss is not None
    return EvaluationResult(top1, top5, loss, perplexity(task, loss), found, primary_of(task).name)


def _over_ranks(sums: Tensors, counted: Tensor, ranks: Ranks) -> tuple[Tensors, Tensor]:
    """Returns all sums over ranks, by one reduction."""
    flat = ranks.sum(torch.cat([*(value.flatten() for value in sums.values()), counted[None]]))
    parts = flat.split([*(value.numel() for value in sums.values()), 1])
    shaped = {
        name: part.view(value.shape)
        for (name, value), part in zip(sums.items(), parts, strict=False)
    }
    return shaped, parts[-1][0]


def _results(task: Task, sums: Tensors, counted: Tensor) -> dict[str, float]:
    own = getattr(task, "results", None)
    if own is None:
        return {name: float(total / counted) for name, total in sums.items()}
    return {"loss": float(sums["loss"] / counted), **own(sums, counted)}
