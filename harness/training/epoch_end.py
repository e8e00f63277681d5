"""Checks and measures a training: finite numbers, loss, equal replicas, validation."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from harness.system.errors import NotFinite
from harness.training.context import Hooks, TrainingContext, TrainingCurve
from harness.training.evaluation import evaluate_compared
from harness.training.updates.weight_average import WeightAverage
from harness.vocabulary.tensors import preserve_buffers


def finite_loss(model: nn.Module, total: Tensor, context: TrainingContext, epoch: int) -> float:
    """Returns the sum of losses over all ranks' samples.

    `total` is this rank's sum, left unchanged.

    Raises:
        NotFinite: On every rank.
    """
    # Summed over ranks, so that all ranks raise.
    loss = float(context.ranks.sum(total.clone()))
    not_finite = [n for n, p in model.named_parameters() if not p.detach().isfinite().all()]
    if not_finite or not math.isfinite(loss):
        raise NotFinite(
            f"epoch {epoch + 1} of level {context.level}: loss {loss} summed over samples, not "
            f"finite in {', '.join(not_finite) or 'no weight yet'}; "
            "lower the optimizer's lr or set clip_norm"
        )
    return loss


def sync_replicas(
    model: nn.Module,
    context: TrainingContext,
    hooks: Hooks,
    epoch: int,
    average: WeightAverage | None = None,
    ends: bool = False,
) -> None:
    """Broadcasts rank 0's buffers and compares the replicas every few epochs.

    Each rank's forward passes have changed its buffers by its own samples. So no measurement
    decides what a model with such buffers learns. Replicas must be equal, because each has made the
    same steps. At the end of a training that averages its weights (`ends`) the averages are these.

    Raises:
        RanksDisagree: On every rank.
    """
    ranks, done = context.ranks, epoch + 1
    if average and ends:
        average.into_model()
    ranks.broadcast([*model.buffers(), *(average.statistics if average else [])])
    if done % ranks.options.compare_weights_every == 0:
        kept = hooks.per_weight_state() if hooks.per_weight_state else {}
        ranks.check_replicas(
            model, f"the replicas after epoch {done} of level {context.level}", kept
        )


def validation_measure(
    model: nn.Module, context: TrainingContext, average: WeightAverage | None = None
) -> float | None:
    """Returns the primary measure on validation data, or None. The training is not affected.

    The replicas are those that were compared at the epoch's end. Of a training that averages its
    weights the averages are evaluated.
    """
    if context.validation is None:
        return None
    with _aside(model, context, average):
        return evaluate_compared(model, context.validation, context.task, context.ranks).value


def validate(
    model: nn.Module,
    context: TrainingContext,
    average: WeightAverage | None,
    curve: TrainingCurve,
    step: int,
) -> TrainingCurve:
    """Returns the curve with the validation after so many steps. The training is not affected.

    Inside an epoch the statistics of norms are rank 0's.
    """
    validation, test = context.validation, context.test
    if validation is None or test is None:
        return curve
    with preserve_buffers(model), _aside(model, context, average):
        context.ranks.broadcast_running_statistics(model)
        found = evaluate_compared(model, validation, context.task, context.ranks)
        return curve.validated(
            step,
            found.loss,
            found.value,
            lambda: evaluate_compared(model, test, context.task, context.ranks).value,
        )


@contextmanager
def _aside(
    model: nn.Module, context: TrainingContext, average: WeightAverage | None
) -> Iterator[None]:
    """Keeps random streams, and gives the model its averages, if any, inside the context."""
    device = context.ranks.device
    swapped = average.swapped_in() if average else nullcontext()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), swapped:
        yield
