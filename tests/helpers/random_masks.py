"""Prunes the layers of models at random."""

import torch
from torch import nn

from harness.vocabulary.tensors import prunable_weights


def pruned(model: nn.Module, share: float, seed: int) -> nn.Module:
    """Prunes each layer by a random mask; the kept weights do not change."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.mul_(torch.rand(weight.shape, generator=random) < share)
    return model
