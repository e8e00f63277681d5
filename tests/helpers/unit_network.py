"""Defines a model with units of every kind, and its calibration samples."""

from collections import OrderedDict

import torch
from torch import nn

from harness.pruning.reader import companions_of
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Batch, Companions

IMAGES = torch.zeros(2, 1, 6, 6)


def named(saliency: object) -> str:
    return type(saliency).__name__


def network() -> nn.Sequential:
    """Returns 5 + 4 filters of 9 and 45 weights, 7 neurons of 16, each layer with a norm."""
    torch.manual_seed(0)
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 5, 3), bn1=nn.BatchNorm2d(5), relu1=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(5, 4, 3, bias=False), bn2=nn.BatchNorm2d(4), relu2=nn.ReLU(),
        flatten=nn.Flatten(), fc1=nn.Linear(16, 7), bn3=nn.BatchNorm1d(7), relu3=nn.ReLU(),
        fc2=nn.Linear(7, 3),
    )  # fmt: skip
    model = nn.Sequential(layers)
    for norm in (model.bn1, model.bn2, model.bn3):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model


def samples(*sizes: int) -> list[Batch]:
    stream = torch.Generator().manual_seed(3)
    count = sum(sizes)
    xs, ys = torch.randn(count, 1, 6, 6, generator=stream), torch.arange(count) % 3
    return list(zip(xs.split(list(sizes)), ys.split(list(sizes)), strict=True))


def units_of(model: nn.Module) -> Companions:
    kinds = (Filter(), Neuron())
    return {n: c for kind in kinds for n, c in companions_of(kind.units(model, IMAGES)).items()}
