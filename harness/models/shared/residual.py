"""Builds residual networks of basic blocks, with a first convolution for small images."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Shortcut = Literal["padding", "projection"]


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), where missing channels count as 0.

    Both convolutions are 3x3, padded and without biases; the first one has the stride. The
    shortcut is x itself where shapes are equal. Otherwise it is every stride-th pixel of x
    (padding), or a 1x1 convolution with that stride and a BatchNorm (projection).

    A shortcut with fewer channels is added to the first ones. Their number is read from the
    shapes: a block that lost channels needs no changed attribute.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.AvgPool2d(1, stride)
            if shortcut == "projection":
                convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        shortcut = self.shortcut(x)
        common = shortcut.shape[1]
        if common == residual.shape[1]:
            added = residual + shortcut
        else:
            added = torch.cat((residual[:, :common] + shortcut, residual[:, common:]), dim=1)
        outputs: Tensor = self.relu2(added)
        return outputs


def residual_network(
    inputs: int, channels: Sequence[int], blocks: int, classes: int, shortcut: Shortcut
) -> nn.Module:
    """Returns conv1, bn1, relu1, stages layer1, layer2, ..., their spatial mean, and fc.

    Args:
        inputs: Channels of the images.
        channels: Those of each stage; conv1 has the first. All stages but the first halve the
            sides of the image.
        blocks: Number of blocks of each stage.
        classes: Outputs.
        shortcut: Kind of the shortcuts between different shapes.
    """
    stem = nn.Conv2d(inputs, channels[0], 3, padding=1, bias=False)
    layers = OrderedDict[str, nn.Module](
        conv1=stem, bn1=nn.BatchNorm2d(channels[0]), relu1=nn.ReLU()
    )
    before = channels[0]
    for stage, width in enumerate(channels, start=1):
        first = Block(before, width, 1 if stage == 1 else 2, shortcut)
        others = [Block(width, width, 1, shortcut) for _ in range(blocks - 1)]
        layers[f"layer{stage}"] = nn.Sequential(first, *others)
        before = width
    layers |= {
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(before, classes),
    }
    return nn.Sequential(layers)
