from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from harness.models.base import check_images, check_weights

SMALLEST = 16  # 16 -> 12 -> 6 -> 2 -> 1; 15 leaves no pixel before fc1


@dataclass(frozen=True)
class LeNet5:
    """Builds LeNet-5-Caffe: 5x5 convolutions of 20 and 50 filters, max-pooled, then 500 units.

    430,500 prunable weights, 431,080 parameters, 2,293,000 multiply-accumulates for (1, 28, 28)
    and 10 classes.

    batch_norm: a BatchNorm before each ReLU, as network slimming needs (model=lenet_5_bn).

    Source: lenet_train_test.prototxt of Caffe. It has a ReLU after fc1 only; the pruning
    literature has one after each convolution too (e.g. Louizos et al. 2018, arXiv:1712.01312),
    and so have we.
    """

    batch_norm: bool = False

    @property
    def published_as(self) -> str | None:
        return None if self.batch_norm else "lenet_5"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_images("lenet_5", shape, classes, SMALLEST)
        channels, height, width = shape
        features = 50 * _pooled_twice(height) * _pooled_twice(width)
        check_weights("lenet_5", 500 * channels + 25_000 + 500 * (features + classes))
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 20, 5),
                **self._norm("bn1", nn.BatchNorm2d, 20),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(20, 50, 5),
                **self._norm("bn2", nn.BatchNorm2d, 50),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(features, 500),
                **self._norm("bn3", nn.BatchNorm1d, 500),
                relu3=nn.ReLU(),
                fc2=nn.Linear(500, classes),
            )
        )

    def _norm(self, name: str, kind: type[nn.Module], units: int) -> dict[str, nn.Module]:
        return {name: kind(units)} if self.batch_norm else {}


def _pooled_twice(size: int) -> int:
    return ((size - 4) // 2 - 4) // 2
