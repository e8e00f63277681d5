"""Checks labels that are classes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.task.base import IGNORED
from harness.vocabulary.given.batches import kind_of


def check_classes(source: str, labels: Tensor, classes: int) -> None:
    """Checks that labels are whole numbers from 0 to classes - 1, or torch's ignore_index.

    Args:
        source: what the labels are of, for the message.
        labels: of any shape.
        classes: the number of classes.

    Raises:
        ValueError: a label is another number.
    """
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels of {source} are {labels.dtype}, and classes are int64; convert them with "
            ".long(), or use a task of your own for real-valued targets"
        )
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    if wrong.numel():
        raise ValueError(
            f"{wrong.numel()} of {labels.numel()} labels of {source} are outside the {classes} "
            f"classes 0 to {classes - 1}, such as {int(wrong.flatten()[0])}; number the classes "
            "from 0, or raise their number"
        )


def check_scores_of_classes(
    task: str, outputs: Any, dimensions: tuple[str, ...], classes: int
) -> None:
    """Checks that outputs are (*dimensions, classes) with as many classes as the data, or more.

    Outputs that are no tensor are left to the loss, which may take them apart.

    Args:
        task: name of the task, for the message.
        outputs: what the model returns.
        dimensions: names of the dimensions before the classes.
        classes: the data's number of classes.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(outputs, Tensor):
        return
    if outputs.ndim != len(dimensions) + 1 or outputs.shape[-1] < classes:
        raise ValueError(
            f"task={task} needs outputs ({', '.join(dimensions)}, classes) for {classes} classes "
            f"of the data, and the model returns {kind_of(outputs)}; change its last layer, or the "
            "task"
        )


@contextmanager
def explain_classes(labels: Tensor, classes: int) -> Iterator[None]:
    """Names a label in torch's error about one that is no class, inside the context.

    Raises:
        ValueError: a label is no class of the outputs.
    """
    try:
        yield
    except IndexError:
        check_classes("a batch", labels, classes)
        raise
