import math
import sys
from typing import Protocol

import torch
from torch import Tensor

from harness.task.shared.measures import TOP1, Measure
from harness.vocabulary.finite import is_finite

# The label of what is not there, such as padding: torch's cross-entropy leaves it out by default.
IGNORED = -100
LARGEST_LOSS = math.log(sys.float_info.max)


class Task(Protocol):
    """Computes loss and measures as SUMS over the samples, so that ranks can add them up.

    A sample of several labels (a sequence) adds the mean over its labels. A method
    `label_mask(labels) -> Tensor`, if it has one, tells which labels count: bool, in the labels'
    shape. Those that do not add 0 to every sum. All means, the training loss's too, are then over
    the labels that count: a sample weighs as much as the fraction of its labels that do. Without
    the method all count. `check_labels(labels, classes, source)` and `check_outputs(outputs,
    classes)`, if it has them, raise ValueError before any training.

    A task whose measured loss is in nats per token says `has_perplexity = True`: records and
    reports then have exp(loss) too. `primary`, a Measure, is what reports show, by default top1.
    `results(sums, counted) -> dict[str, float]` makes measures of sums of any shape; without it
    each is its sum / counted. `metrics` names classes of torchmetrics, and
    `metric_inputs(outputs, labels)` says what they are updated with.
    """

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the differentiable training loss, summed over the samples (a scalar)."""

    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Returns sums over the samples: "loss" and those of measures, such as "top1" (hits)."""


def perplexity(task: Task, loss: float) -> float | None:
    """Returns exp(loss), for a loss in nats per token; None for other tasks, and beyond floats."""
    if not getattr(task, "has_perplexity", False) or not loss < LARGEST_LOSS:
        return None
    return math.exp(loss)


def primary_of(task: Task) -> Measure:
    """Returns the measure that reports show and searches improve."""
    primary: Measure = getattr(task, "primary", TOP1)
    return primary


def label_mask_of(task: Task, labels: Tensor) -> Tensor | None:
    """Returns which labels count, in their shape, or None if all count."""
    own = getattr(task, "label_mask", None)
    mask: Tensor | None = None if own is None else own(labels)
    return mask


def sample_weights(task: Task, labels: Tensor) -> Tensor:
    """Returns the fraction of each sample's labels that count: (samples,), float64.

    Sums over samples are divided by the sum of these. It is the number of samples, exactly, where
    all labels count.
    """
    mask = label_mask_of(task, labels)
    if mask is None or mask.numel() == 0:
        return torch.ones(len(labels), dtype=torch.float64, device=labels.device)
    by_sample = mask.reshape(len(labels), -1)
    return by_sample.sum(dim=1, dtype=torch.float64) / by_sample.shape[1]


def check_labels(task: Task, labels: Tensor, classes: int, source: str) -> None:
    """Checks that the task can use all labels, and that one of them counts.

    Args:
        task: its method `check_labels(labels, classes, source)`, if it has one, is called.
        labels: all labels of a split.
        classes: the data's number of classes.
        source: what the labels are of, for messages.

    Raises:
        ValueError: a label is no number, the task cannot use it, or none of the labels counts.
    """
    if labels.is_floating_point() and not is_finite(labels):
        raise ValueError(f"labels of {source} hold NaN or infinity; leave these samples out")
    own = getattr(task, "check_labels", None)
    if own is not None:
        own(labels, classes, source)
    if len(labels) and not sample_weights(task, labels).any():
        raise ValueError(
            f"no label of {source} counts: all of {len(labels)} samples are labelled {IGNORED}, "
            f"which task {type(task).__name__} leaves out; give them labels"
        )
