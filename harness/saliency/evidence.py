"""What saliencies measure on data. Sums and sample counts, so that ranks can average them."""

from collections.abc import Iterable

import torch
from torch import nn

from harness.tensors import Batch, Loss, Mean, Tensors, evaluating, prunable_layers


def mean_gradients(model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean) -> Tensors:
    """Gradient of the mean loss over all calibration samples of all ranks, per prunable weight.

    In eval mode, so that BatchNorm uses its running statistics and dropout is off. Signed: the
    sum over batches comes before any absolute value.

    Raises:
        ValueError: there are no calibration samples on any rank (by `mean`).
    """
    parameters = {name: model.get_parameter(name) for name in prunable_layers(model)}
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    samples = 0
    with evaluating(model), torch.enable_grad():
        for inputs, labels in batches:
            # A weight that the loss does not depend on has gradient 0.
            gradients = torch.autograd.grad(
                loss(model(inputs), labels), list(parameters.values()), materialize_grads=True
            )
            torch._foreach_add_(list(sums.values()), list(gradients))
            samples += len(labels)
    return mean(sums, samples)
