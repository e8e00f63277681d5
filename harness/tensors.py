"""What flows through the pipeline: tensors and counts by parameter name, and batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

Tensors = dict[str, Tensor]  # "layer1.0.conv1.weight" -> tensor of that weight's shape
Counts = dict[str, int]  # "layer1.0.conv1.weight" -> number of units
Batch = tuple[Tensor, Tensor]  # inputs (samples, ...), labels (samples, ...)
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs, labels -> loss SUMMED over the samples
Mean = Callable[[Tensors, int], Tensors]  # (sums, samples) -> sums over ranks / samples over ranks

PRUNABLE = (nn.Linear, _ConvNd)


def mean_alone(sums: Tensors, samples: int) -> Tensors:
    """The `Mean` of one process: sums / samples.

    Raises:
        ValueError: samples is 0.
    """
    if samples < 1:
        raise ValueError(f"no calibration samples (got {samples}); ask for at least 1")
    return {name: total / samples for name, total in sums.items()}


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Parameter name -> layer, for the weight of every convolution and linear layer.

    The classifier is included; biases and norms are not. A weight that several layers share
    appears once, under its first name; one that a layer of another kind holds first (a tied
    embedding) does not appear.

    Raises:
        ValueError: the model has no such layer, a lazy one, or one whose weight is computed.
    """
    own = dict(model.named_parameters())
    for name, layer in model.named_modules():
        if isinstance(layer, PRUNABLE) and "weight" not in layer._parameters:
            raise ValueError(
                f"layer {name or type(layer).__name__} computes its weight from others "
                "(weight_norm, a parametrization, torch.nn.utils.prune); make it plain first: "
                "remove_parametrizations, prune.remove, or harness.from_torch_prune"
            )
    layers: dict[str, nn.Module] = {
        f"{name}.weight".removeprefix("."): layer
        for name, layer in model.named_modules()
        if isinstance(layer, PRUNABLE)
    }
    found = {name: layer for name, layer in layers.items() if name in own}
    if not found:
        raise ValueError(f"{type(model).__name__} has no Conv or Linear layer to prune")
    lazy = [name for name in found if is_lazy(own[name])]
    if lazy:
        raise ValueError(f"{lazy[0]} has no values yet; run one batch through the model first")
    return found


def prunable_weights(model: nn.Module) -> Tensors:
    """The weights themselves (detached, not copied), by parameter name."""
    return {name: model.get_parameter(name).detach() for name in prunable_layers(model)}


def copied(tensors: Tensors) -> Tensors:
    """Copies that share no memory, contiguous: what safetensors wants."""
    whole = torch.contiguous_format
    return {name: t.detach().clone(memory_format=whole) for name, t in tensors.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's own mode again outside, also after an error."""
    # Module by module: model.train() would also wake up the parts that are frozen in eval mode.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
