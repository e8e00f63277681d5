from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from harness.models.shared.scaled_model import ScaledModel


@dataclass(frozen=True)
class WideResNet(ScaledModel):
    """Builds WRN-depth-widening, as WRN-16-8 and WRN-28-10, for small images.

    A convolution of 16 channels, 3 stages of n blocks (depth = 6 n + 4), BatchNorm, ReLU, a spatial
    mean and a classifier. Stages have 16, 32 and 64 channels times `widening`; all channels are
    multiplied by `width_factor` and rounded up. The second and third stage halve the sides of the
    image. Inputs (channels, height, width) have any size.

    Prunable weights, parameters and multiply-accumulates for (3, 32, 32) and 10 classes:

    | network | weights | parameters | multiply-accumulates |
    | --- | --- | --- | --- |
    | WRN-16-8 | 10,954,160 | 10,961,370 | 1,548,145,664 |
    | WRN-28-10 | 36,461,232 | 36,479,194 | 5,243,328,768 |

    Source: Zagoruyko & Komodakis 2016, Wide Residual Networks (arXiv:1605.07146), table 1; their
    table 4 has 11.0 and 36.5 million parameters. Blocks are theirs of two 3x3 convolutions, B(3,3),
    without dropout. Convolutions have no biases and are drawn as He et al. 2015; the classifier
    has torch's initial weights.

    Raises:
        ValueError: depth is not 6 n + 4, widening below 1, or width_factor not in (0, 16].
    """

    depth: Annotated[int, "a whole number in [10, 1000]; 6 n + 4, as 16 and 28"] = 28
    widening: Annotated[int, "a whole number in [1, 64]; WRN-28-10 has 10"] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4, as 16, 22, 28 or 40, got {self.depth}")

    @property
    def name_in_literature(self) -> str:
        return f"wrn_{self.depth}_{self.widening}"

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        before = self.channels(16)
        layers = OrderedDict[str, nn.Module](conv1=nn.Conv2d(shape[0], before, 3, 1, 1, bias=False))
        for stage, published in enumerate((16, 32, 64), start=1):
            width = self.channels(published * self.widening)
            blocks = [PreactivationBlock(before, width, 1 if stage == 1 else 2)]
            blocks += [PreactivationBlock(width, width, 1) for _ in range((self.depth - 10) // 6)]
            layers[f"layer{stage}"] = nn.Sequential(*blocks)
            before = width
        layers |= {
            "bn": nn.BatchNorm2d(before),
            "relu": nn.ReLU(),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(before, classes),
        }
        return nn.Sequential(layers)


class PreactivationBlock(nn.Module):
    """conv2(relu(bn2(conv1(a)))) + shortcut, with a = relu(bn1(x)).

    Both convolutions are 3x3; the first one has the stride. The shortcut is x where shapes are
    equal, and else a 1x1 convolution of a with the same stride.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.projection: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))
        residual: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return residual + (x if self.projection is None else self.projection(active))
