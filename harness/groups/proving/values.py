"""Draws weights, statistics and inputs on which a wrong removal shows."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.vocabulary.nested import map_tensors
from harness.vocabulary.tensors import Tensors

SEED = 20
MEANS, VARIANCES = "running_mean", "running_var"


def random_values(model: nn.Module) -> Tensors:
    """Returns changed parameters and statistics of norms, the same ones at each call.

    Every parameter is moved by up to half of its own scale, so that a constant positive one stays
    positive. One that is 0, or nearly so, gets the scale of a new layer: a branch whose last norm
    is 0 would hide what is wrong inside it.
    """
    draw = torch.Generator().manual_seed(SEED)
    values = {name: _moved(p.detach(), draw) for name, p in model.named_parameters()}
    for name, buffer in model.named_buffers():
        leaf = name.rpartition(".")[2]
        if leaf in (MEANS, VARIANCES) and buffer.is_floating_point():
            values[name] = _statistics(leaf, buffer, draw)
    return values


def random_inputs(inputs: Any) -> Any:
    """Returns inputs whose floats got noise of their own scale.

    Whole numbers stay, in floats too if one is neither 0 nor 1: they may be ids of tokens.
    """
    draw = torch.Generator().manual_seed(SEED)
    return map_tensors(inputs, lambda t: _noisy(t, draw) if _may_vary(t) else t)


def widened(inputs: Any) -> Any | None:
    """Returns a batch of four times as many samples, or None if tensors have different batches."""
    sizes = set[int]()
    draw = torch.Generator().manual_seed(SEED)

    def more(tensor: Tensor) -> Tensor:
        sizes.add(tensor.shape[0] if tensor.dim() else 0)
        if not tensor.dim():
            return tensor
        rolled = [tensor.roll(shift, -1) if tensor.dim() > 1 else tensor for shift in (1, 2, 3)]
        varies = _may_vary(tensor)
        return torch.cat([tensor, *(_noisy(t, draw) if varies else t for t in rolled)])

    changed = map_tensors(inputs, more)
    return changed if len(sizes) == 1 and sizes != {0} else None


def _moved(parameter: Tensor, draw: torch.Generator) -> Tensor:
    if not parameter.is_floating_point() or not parameter.numel():
        return parameter
    usual = 1 / math.sqrt(max(parameter[0].numel(), 1)) if parameter.dim() > 1 else 0.5
    scale = float(parameter.double().square().mean().sqrt())
    noise = _drawn(torch.rand, parameter, draw) - 0.5
    if scale < 0.01 * usual or not math.isfinite(scale):
        return 2 * usual * noise
    return parameter + scale * noise


def _statistics(leaf: str, buffer: Tensor, draw: torch.Generator) -> Tensor:
    if leaf == VARIANCES:
        return (buffer + (buffer <= 0)) * (_drawn(torch.rand, buffer, draw) + 0.5)
    return buffer + _drawn(torch.randn, buffer, draw) * 0.3


def _may_vary(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return False
    flags = (tensor == 0) | (tensor == 1)
    return bool(flags.all()) or not bool((tensor == tensor.round()).all())


def _noisy(tensor: Tensor, draw: torch.Generator) -> Tensor:
    spread = float(tensor.double().std()) if tensor.numel() > 1 else 0.0
    scale = spread if math.isfinite(spread) and spread > 0 else 1.0
    return tensor + scale * _drawn(torch.randn, tensor, draw)


def _drawn(kind: Callable[..., Tensor], like: Tensor, draw: torch.Generator) -> Tensor:
    """Returns numbers drawn on the CPU, so that every device proves the same values."""
    return kind(like.shape, generator=draw, dtype=torch.float64).to(like)
