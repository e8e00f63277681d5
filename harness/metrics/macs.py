"""Multiply-accumulates that a pruned model still needs: the theoretical speed-up's two numbers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from harness.tensors import PRUNABLE, Counts, evaluating


def macs(model: nn.Module, shape: tuple[int, ...], whole: bool = False) -> int:
    """Multiply-accumulates of one sample: sum of non-zero weights x positions over layer calls.

    Only convolutions and linear layers count, as in the literature; biases, norms and additions
    do not. Positions are the output's pixels (or tokens), read from one forward pass of zeros of
    `shape`, so groups, stride, padding and dilation come out right; a transposed convolution has
    its input's. A layer called twice counts twice. Weights used without calling their layer
    (torch.nn.functional, nn.MultiheadAttention) are not seen.

    whole: zeros count too. That is the dense network's number: torch's default init draws an
    exact 0 once in 2**24 weights, so one LeNet-5 in 40 has one before any pruning.

    The model is left unchanged: mode of every module, statistics, hooks; also after an error.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    return sum(layer_macs(model, shape, whole).values())


def layer_macs(model: nn.Module, shape: tuple[int, ...], whole: bool = False) -> Counts:
    """As `macs`, of each weight; one that several layers share has them all."""
    layers = [module for module in model.modules() if isinstance(module, PRUNABLE)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Conv or Linear layer to count")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    counted = {names[id(layer.weight)]: 0 for layer in layers}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.get_parameter("weight")
        alive = weight.numel() if whole else int(weight.count_nonzero())
        counted[names[id(weight)]] += alive * _positions(layer, inputs, output)

    first = next(model.parameters())
    sample = torch.zeros(1, *shape, dtype=first.dtype, device=first.device)
    with evaluating(model), _hooked(layers, count), torch.no_grad():
        model(sample)
    return counted


def _positions(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> int:
    if isinstance(layer, _ConvTransposeNd):
        return inputs[0].numel() // layer.in_channels
    if isinstance(layer, _ConvNd):
        return output.numel() // layer.out_channels
    assert isinstance(layer, nn.Linear)
    return output.numel() // layer.out_features


@contextmanager
def _hooked(layers: Sequence[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
