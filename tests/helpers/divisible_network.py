"""Defines models of which structures find units, and inputs of them."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

IMAGES = torch.zeros(2, 4, 8, 8)


class Attention(nn.Module):
    """Computes attention of two heads of width 4 over the positions of pictures of 4 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.output = nn.Linear(4, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, -1, 4))
        heads = scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        merged: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return merged


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).relu()


def both() -> nn.Sequential:
    """Returns convolutions and linear layers with norms; 4 divides all sizes but kernels."""
    torch.manual_seed(0)
    layers = OrderedDict(
        conv1=nn.Conv2d(4, 8, 3), bn1=nn.BatchNorm2d(8), relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 4, 3, groups=2, bias=False), bn2=nn.BatchNorm2d(4),
        flatten=nn.Flatten(), fc1=nn.Linear(64, 8), relu2=nn.ReLU(), fc2=nn.Linear(8, 4),
    )  # fmt: skip
    return nn.Sequential(layers)


def of_all_kinds(residual: bool = False) -> nn.Sequential:
    """Returns the same with attention, or a residual block too: every structure finds units."""
    layers = OrderedDict(both().named_children())
    layers["flatten"] = nn.Sequential(OrderedDict(attention=Attention(), flatten=nn.Flatten()))
    if residual:
        layers["relu1"] = nn.Sequential(OrderedDict(relu=nn.ReLU(), block=Residual()))
    return nn.Sequential(layers)
