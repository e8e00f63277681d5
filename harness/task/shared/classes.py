"""Checks labels that are classes."""

import torch
from torch import Tensor

from harness.task.base import IGNORED


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
