"""Defines a model of which every structure finds units, and inputs of it."""

from collections import OrderedDict

import torch
from torch import nn

IMAGES = torch.zeros(2, 4, 8, 8)


def both() -> nn.Sequential:
    """Returns convolutions and linear layers with norms; 4 divides all sizes but kernels."""
    torch.manual_seed(0)
    layers = OrderedDict(
        conv1=nn.Conv2d(4, 8, 3), bn1=nn.BatchNorm2d(8), relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 4, 3, groups=2, bias=False), bn2=nn.BatchNorm2d(4),
        flatten=nn.Flatten(), fc1=nn.Linear(64, 8), relu2=nn.ReLU(), fc2=nn.Linear(8, 4),
    )  # fmt: skip
    return nn.Sequential(layers)
