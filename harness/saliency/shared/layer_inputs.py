"""Sums over the input vectors of convolution and linear layers."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.conv import _ConvNd

from harness.saliency.base import CalibrationData
from harness.saliency.shared.gradient_statistics import check_finite
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.tensors import PRUNABLE, Mean, Tensors, eval_mode, prunable_layers

# Input vectors (groups, positions, columns) -> what is summed, of a shape without positions.
Measure = Callable[[Tensor], Tensor]

# Numbers of input vectors that are held at once: 32 MiB in float64.
CHUNK = 2**22
CALLS = "calls"  # no name of a weight


def mean_over_inputs(data: CalibrationData, measure: Measure) -> Tensors:
    """Returns measure(inputs of a layer), summed over calls and positions, per sample.

    The result is keyed by the weights to score.

    In eval mode, in float64. measure must be additive over positions; it is given the input
    vectors that a row of the weight is multiplied with, as `patches` has them. A weight that
    several layers share gets the sum over them. A weight whose layer the forward never calls
    has no entry, nor has a transposed convolution; `layer_statistics` refuses it when it is scored.

    Raises:
        ValueError: there are no calibration samples on any rank (by `mean`), or a sum is not
            finite.
    """
    model, layers = data.module, layers_with_inputs(data.module, data.weight_names)
    sums = {name: measure(_no_inputs(layer)) for name, layer in layers.items()}
    calls = dict.fromkeys(layers, 0)
    samples = 0

    def add(name: str, layer: nn.Module, inputs: Tensor) -> None:
        calls[name] += 1
        for chunk in _chunks(layer, inputs):
            sums[name] += measure(patches(layer, chunk.double()))

    with eval_mode(model), torch.no_grad(), _input_hooks(model, set(layers), add):
        for inputs, labels in data.batches:
            call_model(model, inputs)
            samples += len(labels)
    return check_finite(
        _called_means(data.mean, sums, calls, samples), "sum over inputs of the layer"
    )


def layers_with_inputs(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """Returns by weight the layers of these names that are no transposed convolutions."""
    layers = prunable_layers(model)
    candidates = {name: layers[name] for name in names}
    return {
        n: layer
        for n, layer in candidates.items()
        if not (isinstance(layer, _ConvNd) and layer.transposed)
    }


def layer_statistics(name: str, statistics: Tensors) -> Tensor:
    """Returns the statistics of this weight.

    Raises:
        ValueError: the inputs of this weight's layer are unknown.
    """
    if name not in statistics:
        layer = name.removesuffix(".weight")
        raise ValueError(
            f"{name}: the inputs of its layer are unknown; the forward never calls it as a layer "
            "(such as out_proj of nn.MultiheadAttention), or it is a transposed convolution. "
            f"Leave it out with exclude=[{layer}], or use saliency=fisher or saliency=magnitude"
        )
    return statistics[name]


def patches(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Returns the vectors that rows of weight.flatten(1) multiply: (groups, positions, columns).

    A linear layer has one group, and its positions are all but the last dimension. A convolution
    has a position for each output pixel of each sample; padding counts as input, as it is
    padded (zeros, reflect, ...). Of a grouped one, group g is what the g-th part of the rows sees.
    """
    if not isinstance(layer, _ConvNd):
        return inputs.reshape(1, -1, inputs.shape[-1])
    dims = len(layer.kernel_size)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    windows: Tensor = pad(_batched(layer, inputs), _padding(layer), mode)
    for dim in range(dims):
        step, apart = layer.stride[dim], layer.dilation[dim]
        span = apart * (layer.kernel_size[dim] - 1) + 1
        windows = windows.unfold(2 + dim, span, step)[..., ::apart]
    # (samples, groups, channels, positions..., offsets...): channels and offsets are a column.
    windows = windows.unflatten(1, (layer.groups, -1))
    positions, offsets = range(3, 3 + dims), range(3 + dims, 3 + 2 * dims)
    ordered: Tensor = windows.permute(1, 0, *positions, 2, *offsets)
    return ordered.flatten(dims + 2).flatten(1, dims + 1)


def _padding(layer: _ConvNd) -> list[int]:
    # As pad() takes it: last dimension first, before and after. "same" may differ by one.
    if isinstance(layer.padding, str):
        return list(layer._reversed_padding_repeated_twice)
    return [width for width in reversed(layer.padding) for _ in range(2)]


def _batched(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Returns inputs with one first dimension, along which they can be cut into chunks."""
    if isinstance(layer, _ConvNd):
        return inputs if inputs.dim() == len(layer.kernel_size) + 2 else inputs.unsqueeze(0)
    return inputs.reshape(-1, inputs.shape[-1])


def _chunks(layer: nn.Module, inputs: Tensor) -> Iterator[Tensor]:
    whole = _batched(layer, inputs)
    kernel = math.prod(layer.kernel_size) if isinstance(layer, _ConvNd) else 1
    size = max(1, whole.shape[1:].numel() * kernel)
    yield from whole.split(max(1, CHUNK // size))


def _no_inputs(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.get_parameter("weight")
    groups, columns = getattr(layer, "groups", 1), weight.shape[1:].numel()
    return torch.zeros(groups, 0, columns, dtype=torch.float64, device=weight.device)


@contextmanager
def _input_hooks(
    model: nn.Module, names: set[str], add: Callable[[str, nn.Module, Tensor], None]
) -> Iterator[None]:
    """Calls add(name, layer, inputs) at each call of a layer of these weights."""
    owners = {id(model.get_parameter(name)): name for name in names}
    layers = [m for m in model.modules() if isinstance(m, PRUNABLE) and id(m.weight) in owners]

    def hook(layer: nn.Module, args: tuple[Any, ...], more: dict[str, Any]) -> None:
        add(owners[id(layer.weight)], layer, args[0] if args else more["input"])

    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _called_means(mean: Mean, sums: Tensors, calls: dict[str, int], samples: int) -> Tensors:
    # A rank without samples calls no layer: which ones are called is known after the mean only.
    device = next(iter(sums.values())).device if sums else None
    counts = torch.tensor(list(calls.values()), dtype=torch.float64, device=device)
    means = mean({**sums, CALLS: counts}, samples)
    called = dict(zip(calls, means[CALLS].tolist(), strict=True))
    return {name: means[name] for name in sums if called[name] > 0}
