from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from harness.models.shared.scaled_model import ScaledModel

BLOCKS = 3


@dataclass(frozen=True)
class DenseNet(ScaledModel):
    """Builds DenseNet-40 and others without bottlenecks, for small images.

    A 3x3 convolution of 16 channels; 3 blocks of n layers (depth = 3 n + 4), each of which adds
    `growth` channels to all before it: x = [x, conv(relu(bn(x)))]. Between blocks BatchNorm, ReLU,
    a 1x1 convolution that keeps the number of channels, and a 2x2 mean; then BatchNorm, ReLU, a
    spatial mean and a classifier. The first channels and `growth` are multiplied by `width_factor`
    and rounded up. Inputs (channels, height, width) of at least 4 x 4 pixels.

    1,001,616 prunable weights, 1,019,722 parameters and 264,812,928 multiply-accumulates with depth
    40 and growth 12 for (3, 32, 32) and 10 classes.

    Source: Huang et al. 2017, Densely Connected Convolutional Networks (arXiv:1608.06993); their
    table 2 has 1.0 million parameters for L = 40, k = 12. Without dropout. Convolutions have no
    biases and are drawn as He et al. 2015; the classifier has torch's initial weights.

    Raises:
        ValueError: depth is not 3 n + 4, growth below 1, or width_factor not in (0, 16].
    """

    depth: Annotated[int, "a whole number in [7, 1000]; 3 n + 4, as 40 and 100"] = 40
    growth: Annotated[int, "a whole number in [1, 1000]; k of the paper"] = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.depth - 4) % BLOCKS:
            raise ValueError(f"depth must be 3 n + 4, as 40 or 100, got {self.depth}")

    @property
    def name_in_literature(self) -> str:
        named = "" if self.growth == 12 else f"_{self.growth}"
        return f"densenet_{self.depth}{named}"

    @property
    def smallest(self) -> int:
        return 4

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        width, growth = self.channels(16), self.channels(self.growth)
        layers = OrderedDict[str, nn.Module](conv1=nn.Conv2d(shape[0], width, 3, 1, 1, bias=False))
        for block in range(1, BLOCKS + 1):
            parts = []
            for _ in range((self.depth - 4) // BLOCKS):
                parts.append(DenseLayer(width, growth))
                width += growth
            layers[f"block{block}"] = nn.Sequential(*parts)
            if block < BLOCKS:
                layers[f"transition{block}"] = _transition(width)
        layers |= {
            "bn": nn.BatchNorm2d(width),
            "relu": nn.ReLU(),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(width, classes),
        }
        return nn.Sequential(layers)


class DenseLayer(nn.Module):
    """Appends conv(relu(bn(x))) to the channels of x, with a 3x3 convolution."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(self.relu(self.bn(x)))), dim=1)


def _transition(width: int) -> nn.Module:
    layers = OrderedDict[str, nn.Module](bn=nn.BatchNorm2d(width), relu=nn.ReLU())
    layers["conv"] = nn.Conv2d(width, width, 1, bias=False)
    layers["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(layers)
