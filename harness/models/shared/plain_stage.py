"""Builds stages of convolutions without branches, as VGGs have them."""

from collections.abc import Iterable

from torch import nn


def plain_stage(
    inputs: int, width: int, numbers: Iterable[int], batch_norm: bool = False
) -> dict[str, nn.Module]:
    """Returns layers conv1, bn1, relu1, conv2, ... of these numbers: 3x3, padded, with biases.

    inputs: channels of the first one's inputs; all put out `width`.
    """
    layers: dict[str, nn.Module] = {}
    for number in numbers:
        layers[f"conv{number}"] = nn.Conv2d(inputs, width, 3, padding=1)
        if batch_norm:
            layers[f"bn{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        inputs = width
    return layers
