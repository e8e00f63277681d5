import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from harness.models.base import check_task
from harness.vocabulary.checks import follows


@dataclass(frozen=True)
class Mlp:
    """Builds linear layers fc1, fc2, ... of these widths with ReLU between; any shape, flattened.

    With batch_norm there is a BatchNorm1d (bn1, ...) before each ReLU. `hidden=[]` is a linear
    classifier.

    Raises:
        ValueError: hidden is not a list of integers of at least 1.
    """

    hidden: Sequence[int] = (32, 32)
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Sequence):
            raise ValueError(f"hidden must be a list of widths, got {self.hidden!r}; write [32,32]")
        for width in self.hidden:
            if not follows(width, "an integer of at least 1"):
                raise ValueError(
                    f"hidden must hold integers of at least 1, got {width!r}; write e.g. [32,32]"
                )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_task("mlp", shape, classes)
        widths = [math.prod(shape), *self.hidden, classes]
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers[f"fc{number}"] = nn.Linear(inputs, outputs)
            if number <= len(self.hidden):
                if self.batch_norm:
                    layers[f"bn{number}"] = nn.BatchNorm1d(outputs)
                layers[f"relu{number}"] = nn.ReLU()
        return nn.Sequential(layers)
