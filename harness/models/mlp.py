import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from torch import nn

from harness.models.base import check_task, check_weights
from harness.vocabulary.checks import check_declared

WIDTH = "a whole number in [1, 1000000]; write e.g. [32,32]"


@dataclass(frozen=True)
class Mlp:
    """Builds linear layers fc1, fc2, ... of these widths with ReLU between; any shape, flattened.

    With batch_norm there is a BatchNorm1d (bn1, ...) before each ReLU. `hidden=[]` is a linear
    classifier.

    Raises:
        ValueError: hidden is not a list of whole numbers in [1, 1000000].
    """

    hidden: Sequence[Annotated[int, WIDTH]] = (32, 32)
    batch_norm: bool = False

    def __post_init__(self) -> None:
        check_declared(self)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_task("mlp", shape, classes)
        widths = [math.prod(shape), *self.hidden, classes]
        check_weights("mlp", sum(inputs * outputs for inputs, outputs in pairwise(widths)))
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers[f"fc{number}"] = nn.Linear(inputs, outputs)
            if number <= len(self.hidden):
                if self.batch_norm:
                    layers[f"bn{number}"] = nn.BatchNorm1d(outputs)
                layers[f"relu{number}"] = nn.ReLU()
        return nn.Sequential(layers)
