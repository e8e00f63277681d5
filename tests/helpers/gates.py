"""Scores of gates: networks that can be computed by hand, and samples of a larger one."""

import torch
import units_by_hand
from simulated import total
from torch import nn
from units_by_hand import batch

from harness.saliency.base import CalibrationData
from harness.saliency.taylor import Taylor
from harness.saliency.taylor_activation import TaylorActivation
from harness.vocabulary.tensors import Batch, Tensors, prunable_weights

BARE = TaylorActivation(normalise=False)


def line() -> nn.Module:
    """Units z = (2 x + 1, -x)."""
    return nn.Sequential(units_by_hand.line())


def kernel() -> nn.Module:
    """Returns one filter, z = 2 x + 1 at each of two positions."""
    return nn.Sequential(units_by_hand.kernel())


IMAGES = batch(units_by_hand.IMAGES)  # z = (3, 5) and (1, -1)


def score(saliency: object, model: nn.Module, *data: Batch, units: object = None) -> Tensors:
    more = {} if isinstance(saliency, Taylor) else {"units": units}
    statistics = saliency.statistics(CalibrationData(model, data, total, **more))
    return saliency.score(prunable_weights(model), statistics)


def samples(count: int = 4) -> Batch:
    stream = torch.Generator().manual_seed(1)
    images = torch.randn(count, 2, 6, 6, generator=stream, dtype=torch.float64)
    return images, torch.arange(count) % 3
