"""Defines layers whose units can be computed by hand, and computes their scores."""

import torch
from simulated import total
from torch import nn

from harness.saliency.base import CalibrationData
from harness.vocabulary.tensors import Batch, Companions, local_mean


def batch(inputs: object) -> Batch:
    xs = torch.as_tensor(inputs)
    return xs, torch.zeros(len(xs), dtype=torch.int64)


def filled(layer: nn.Module, weight: object, bias: object = None) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight).view_as(layer.weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def measured(
    saliency: object, model: nn.Module, inputs: object, units: Companions | None = None
) -> list[float]:
    """Returns scores of the first layer."""
    statistics = saliency.statistics(
        CalibrationData(model, [batch(inputs)], total, local_mean, units)
    )
    first = next(iter(statistics))
    return saliency.score({first: torch.empty(0)}, statistics)[first].tolist()


def line() -> nn.Module:
    """Companions z = (2 x + 1, -x)."""
    return filled(nn.Linear(1, 2), [2.0, -1.0], [1.0, 0.0])


def kernel() -> nn.Module:
    """Returns one filter, z = 2 x + 1 at each position."""
    return filled(nn.Conv2d(1, 1, 1), [2.0], [1.0])


def same(layer: type[nn.Module]) -> nn.Module:
    """Returns two filters, z = (x, -x) at each position."""
    return filled(layer(1, 2, 1, bias=False), [1.0, -1.0])


IMAGES = [[[[1.0, 2.0]]], [[[0.0, -1.0]]]]  # z = (3, 5) and (1, -1)
POINTS = [[1.0], [-2.0]]  # z = (3, -1) and (-3, 2)
