"""What is looked at after an epoch: whether numbers are finite, the loss, validation accuracy."""

import math

import torch
from torch import Tensor, nn

from harness.system.errors import NotFinite
from harness.training.context import Hooks, TrainingContext
from harness.training.evaluation import evaluate_compared


def finite_loss(model: nn.Module, total: Tensor, context: TrainingContext, epoch: int) -> float:
    """The sum of losses over all ranks' samples; total: over this one's, left as it is.

    Raises:
        NotFinite: on every rank.
    """
    # Summed over ranks, so that all of them leave, not only the one that saw it.
    loss = float(context.ranks.sum(total.clone()))
    odd = [n for n, p in model.named_parameters() if not p.detach().isfinite().all()]
    if odd or not math.isfinite(loss):
        raise NotFinite(
            f"epoch {epoch + 1} of level {context.level}: loss {loss} summed over samples, not "
            f"finite in {', '.join(odd) or 'no weight yet'}; "
            "lower the optimizer's lr or set clip_norm"
        )
    return loss


def sync_replicas(model: nn.Module, context: TrainingContext, hooks: Hooks, epoch: int) -> None:
    """Rank 0's buffers go to all ranks, whose forwards have changed them by their own samples, so
    that no measurement on the way decides what a network with such buffers learns. Then, every few
    epochs, the replicas are compared: they must be equal, for each has made the same steps.

    Raises:
        RanksDisagree: on every rank.
    """
    ranks, done = context.ranks, epoch + 1
    ranks.broadcast(list(model.buffers()))
    if done % ranks.options.compare_weights_every == 0:
        kept = hooks.per_weight_state() if hooks.per_weight_state else {}
        ranks.check_replicas(
            model, f"the replicas after epoch {done} of level {context.level}", kept
        )


def validation_top1(model: nn.Module, context: TrainingContext) -> float | None:
    """None without validation data; what the training goes on with is left as it is.

    The replicas are those that were compared at the epoch's end.
    """
    if context.validation is None:
        return None
    device = context.ranks.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return evaluate_compared(model, context.validation, context.task, context.ranks).top1
