"""Reads the batches of one call of the Python API."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from harness.task.base import IGNORED
from harness.task.shared.classes import check_classes
from harness.vocabulary import tensors
from harness.vocabulary.given.inputs import (
    Inputs,
    clone_inputs,
    describe_inputs,
    samples_of,
    select_samples,
)


@dataclass(frozen=True)
class Copies:
    """Yields batches with cloned inputs, because some models write into their inputs."""

    batches: list[tensors.Batch]

    def __iter__(self) -> Iterator[tensors.Batch]:
        return ((clone_inputs(inputs), labels) for inputs, labels in self.batches)


def labels_of_samples(
    batches: Sequence[tensors.Batch],
) -> tuple[list[tensors.Batch], Callable[[Tensor], Tensor]]:
    """Returns the batches with one row of labels per sample, and the inverse function.

    A model may flatten its positions, so that k labels in a row belong to one sample. The inverse
    restores the labels that the loss was written for.

    Raises:
        ValueError: there are not k labels for each sample, k a whole number of at least 1.
    """
    by_sample = []
    for inputs, labels in batches:
        samples, count = samples_of(inputs), len(labels) if labels.ndim else 1
        labels_per_sample = count // samples if samples else 1
        if not labels_per_sample or count != labels_per_sample * samples:
            raise ValueError(
                f"batches: labels {tuple(labels.shape)} are {count} for {samples} samples "
                f"{describe_inputs(inputs)}; give each sample one label, or equally many in a row"
            )
        by_sample.append((inputs, labels.reshape(samples, labels_per_sample, *labels.shape[1:])))
    if all(len(labels) == samples_of(inputs) for inputs, labels in batches if labels.ndim):
        return list(batches), lambda labels: labels
    return by_sample, lambda labels: labels.flatten(0, 1)


def counted(inputs: Inputs, labels: Tensor) -> tensors.Batch:
    """Returns the samples with a label that counts. As in a run, all other samples are left out."""
    if labels.is_floating_point() or not labels.numel():
        return inputs, labels
    counts = (labels != IGNORED).reshape(len(labels), -1).any(dim=1)
    if counts.all():
        return inputs, labels
    return select_samples(inputs, counts.nonzero().flatten()), labels[counts]


def cross_entropy(outputs: Any, labels: Tensor) -> Tensor:
    """Returns the cross-entropy, summed over the samples.

    Raises:
        ValueError: there are no classes to choose from, or a label is none of them.
    """
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else ()
    are_classes = not labels.is_floating_point()
    fits = tuple(labels.shape) == (shape[:1] + shape[2:] if are_classes else shape)
    if len(shape) < 2 or shape[1] < 2 or not fits:
        raise ValueError(
            "loss is cross-entropy by default, which needs outputs (samples, classes, ...) with 2 "
            "classes or more, and labels (samples, ...) of integers or of the outputs' shape; "
            f"the model gives {shape or type(outputs).__name__} for {labels.dtype} labels "
            f"{tuple(labels.shape)}; give a loss, summed over the samples, such as "
            'binary_cross_entropy_with_logits(..., reduction="sum")'
        )
    if are_classes:
        labels = labels.long()
        check_classes("batches", labels, shape[1])
    return F.cross_entropy(outputs, labels, reduction="sum")
