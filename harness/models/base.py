"""Defines what a model component is, and checks the task that it is built for."""

from collections.abc import Sequence
from typing import Protocol

from torch import nn


class Model(Protocol):
    """Builds a model for samples of a shape and a number of classes.

    A class may declare `published_as`, the model's name in the literature. Published figures of
    that name are then shown beside its results.
    """

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Returns a fresh model in training mode, with weights from torch's global random stream.

        `shape` is that of one sample without the batch; the model returns (batch, classes).

        Raises:
            ValueError: the architecture cannot take such samples.
        """


def check_task(name: str, shape: Sequence[int], classes: int) -> None:
    """Checks the shape of a sample and the number of classes.

    Raises:
        ValueError: a size is below 1, there is none, or there are fewer than 2 classes.
    """
    if not shape or any(size < 1 for size in shape):
        raise ValueError(
            f"{name}: shape must have sizes of at least 1, got {tuple(shape)}; "
            "give one sample's shape without the batch, e.g. (1, 28, 28)"
        )
    if classes < 2:
        raise ValueError(f"{name}: classes must be at least 2, got {classes}; check the data set")
