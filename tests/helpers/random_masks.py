"""Networks whose layers are pruned by chance."""

import torch
from torch import nn

from harness.vocabulary.tensors import prunable_weights


def pruned(model: nn.Module, share: float, seed: int) -> nn.Module:
    """Random masks, each layer's own; the kept weights are left as they are."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.mul_(torch.rand(weight.shape, generator=random) < share)
    return model
