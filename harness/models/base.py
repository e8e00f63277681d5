"""Defines what a model component is, and checks the task that it is built for."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from torch import nn

# In float32: a weight, its gradient, and two numbers of Adam.
BYTES_PER_WEIGHT = 16
PRETRAINED = "pretrained"  # value of the key `weights`


class Model(Protocol):
    """Builds a model for samples of a shape and a number of classes.

    A class may declare `published_as`, the model's name in the literature. Published figures of
    that name are then shown beside its results. `short_name`, if it has one, is its name in records
    and figures, in place of the key `name` and of the file's name. `pretrained_file() -> Path`, if
    it has it, returns the file that weights=pretrained takes.
    """

    def build(self, shape: Any, classes: int) -> nn.Module:
        """Returns a fresh model in training mode, with weights from torch's global random stream.

        `shape` is that of one sample without the batch: a tuple, or a dictionary of tuples where
        inputs have names. The model returns (batch, classes), or what the task reads.

        Raises:
            ValueError: the architecture cannot take such samples.
        """


def weights_file(weights: str, model: object) -> str | Path:
    """Returns the file of the key `weights`: for "pretrained" that of the model's library.

    Raises:
        ValueError: the model has no such weights, or they are not on this machine.
    """
    if weights != PRETRAINED:
        return weights
    find = getattr(model, "pretrained_file", None)
    if find is None:
        raise ValueError(
            f"weights={PRETRAINED}: {type(model).__name__} brings no weights; give "
            "weights=FILE, or use model=torchvision, timm or transformers"
        )
    return Path(find())


def check_task(name: str, shape: Any, classes: int) -> None:
    """Checks the shape of a sample and the number of classes.

    Raises:
        ValueError: inputs have names, a size is below 1, there is none, or there is no class.
    """
    if isinstance(shape, Mapping):
        raise ValueError(
            f"{name} takes one tensor, and the data has several inputs: {', '.join(shape)}; use "
            "model=python with a model whose forward has arguments of these names"
        )
    if not shape or any(size < 1 for size in shape):
        raise ValueError(
            f"{name}: shape must have sizes of at least 1, got {tuple(shape)}; "
            "give one sample's shape without the batch, e.g. (1, 28, 28)"
        )
    if classes < 1:
        raise ValueError(f"{name}: classes must be at least 1, got {classes}; check the data set")


def check_images(name: str, shape: Sequence[int], classes: int, smallest: int = 1) -> None:
    """Checks a task whose samples must be images of at least `smallest` x `smallest` pixels.

    Raises:
        ValueError: as check_task; the shape is not (channels, height, width), or too small.
    """
    check_task(name, shape, classes)
    if len(shape) != 3 or min(shape[1:]) < smallest:
        raise ValueError(
            f"{name} needs images (channels, height, width) of at least {smallest} x {smallest} "
            f"pixels, e.g. (1, 28, 28), got {tuple(shape)}; use data=mnist5k or "
            "model=lenet_300_100"
        )


def check_weights(name: str, weights: int) -> None:
    """Checks that a model of so many weights can be trained in the memory of this machine.

    Raises:
        ValueError: the weights, their gradients and Adam's state are larger than the memory.
    """
    needed, memory = BYTES_PER_WEIGHT * weights, _memory_bytes()
    if needed > memory:
        raise ValueError(
            f"{name}: to train {weights:.3g} weights takes {needed / 1e9:.3g} GB, and this machine "
            f"has {memory / 1e9:.3g} GB of memory; make the model or its inputs smaller"
        )


def _memory_bytes() -> float:
    with suppress(AttributeError, ValueError, OSError):  # not every system says
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return float("inf")
