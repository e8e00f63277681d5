"""What a model component is, and the rules for what it is built for."""

from collections.abc import Sequence
from typing import Protocol

from torch import nn


class Model(Protocol):
    """A class may declare `published_as`, the name in the literature: published figures of that
    name are then shown beside its results."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A fresh network in training mode; its weights come from torch's global random stream.

        `shape` is that of one sample without the batch; the network answers (batch, classes).

        Raises:
            ValueError: the architecture cannot take such samples.
        """


def check_task(name: str, shape: Sequence[int], classes: int) -> None:
    """
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
