import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.models.base import check_task, check_weights


@dataclass(frozen=True)
class LeNet300100:
    """Builds LeNet-300-100: inputs-300-100-classes with ReLU; any shape, flattened.

    266,200 prunable weights, 266,610 parameters for (1, 28, 28) and 10 classes.

    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition; ReLU for
    its tanh, as in Han et al. 2015 (arXiv:1506.02626) and the pruning literature since.
    """

    published_as: ClassVar[str] = "lenet_300_100"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_task("lenet_300_100", shape, classes)
        check_weights("lenet_300_100", 300 * math.prod(shape) + 300 * 100 + 100 * classes)
        return nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                fc1=nn.Linear(math.prod(shape), 300),
                relu1=nn.ReLU(),
                fc2=nn.Linear(300, 100),
                relu2=nn.ReLU(),
                fc3=nn.Linear(100, classes),
            )
        )
