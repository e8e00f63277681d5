"""Runs a model on drawn weights to find what connects its input and output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.metrics.open_pass import OpenPass, UniformDraws
from harness.vocabulary.given.inputs import Inputs, first_samples, map_inputs
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.recomputation import no_checkpoints
from harness.vocabulary.tensors import Tensors, eval_mode
from harness.vocabulary.undisturbed import uncompiled

# Relative difference up to which two values are equal: the order of atomic additions on CUDA
# varies.
EQUAL = 1e-12


@dataclass(frozen=True, eq=False)
class Probe:
    """Holds which weights are on a path, and the third pass, with its stand-ins."""

    masks: Tensors
    stand_ins: Tensors
    open_pass: OpenPass


def probe(
    model: nn.Module,
    sample: Inputs,
    weights: Tensors,
) -> Probe:
    """Runs the three passes; of the prunable `weights` only where they are 0 counts.

    sample: inputs, of which shape and dtype are read; integers are ids of 0, all others float64.
    """
    like = first_samples(sample, 1)
    draw = UniformDraws(next(iter(weights.values())).device)
    stand_ins = _stand_ins(model, draw, weights)
    before: list[_Call] = []
    live: list[Tensor] = []
    with torch.no_grad():
        _run(model, stand_ins, like, OpenPass(draw, _remember(before)))
        _run(model, stand_ins, like, OpenPass(draw, _compare(before, live)))
    trained = {name: stand_ins[name].requires_grad_() for name in weights}
    with torch.enable_grad():
        last = OpenPass(draw, _randomise(live, draw))
        outputs = _run(model, stand_ins, like, last)
        # Not the plain sum, which is constant after a softmax.
        parts = [(output * draw(*output.shape)).sum() for output in outputs]
        total = torch.stack(parts).sum()
        gradients = torch.autograd.grad(total, list(trained.values()), materialize_grads=True)
    pairs = zip(weights.items(), gradients, strict=True)
    masks = {name: (gradient != 0) & (weight != 0) for (name, weight), gradient in pairs}
    return Probe(masks, stand_ins, last)


def _stand_ins(model: nn.Module, draw: UniformDraws, prunable: Tensors) -> Tensors:
    """Returns parameters that average inputs: live entries are positive, rows sum to 1."""
    stand_ins = {}
    for name, parameter in model.named_parameters():
        drawn = draw(*parameter.shape)
        if "bias" in name.rpartition(".")[2]:
            drawn.zero_()
        elif name in prunable:
            drawn *= prunable[name] != 0
        if drawn.dim() > 1:
            rows = drawn.flatten(1)
            rows /= rows.sum(1, keepdim=True).clamp_min(1e-300)
        stand_ins[name] = drawn
    return stand_ins


def _run(model: nn.Module, stand_ins: Tensors, like: Inputs, open_pass: OpenPass) -> list[Tensor]:
    """Returns the outputs that are real numbers, from nested tuples and dictionaries too.

    Raises:
        ValueError: there is none.
    """
    # Copies, because a model may write into its buffers.
    buffers = {
        name: buffer.to(torch.float64 if buffer.is_floating_point() else buffer.dtype, copy=True)
        for name, buffer in model.named_buffers()
    }

    def drawn(tensor: Tensor) -> Tensor:
        values = open_pass.draw(*tensor.shape)
        return values if tensor.is_floating_point() else values.to(tensor.dtype)

    inputs = map_inputs(drawn, like)
    args, named = ((), inputs) if isinstance(inputs, dict) else ((inputs,), None)
    with eval_mode(model), no_checkpoints(), uncompiled(), open_pass:
        outputs = functional_call(model, {**stand_ins, **buffers}, args, named)
    real = [output for output in iter_tensors(outputs) if output.is_floating_point()]
    if not real:
        raise ValueError("no output is a tensor of real numbers")
    return real


@dataclass(frozen=True)
class _Call:
    """Holds a layer's inputs in the first pass, divided by the largest: at most 1."""

    inputs: Tensor
    largest: Tensor


def _remember(before: list[_Call]) -> Callable[[int, Tensor], Tensor]:
    def at(number: int, inputs: Tensor) -> Tensor:
        largest = inputs.abs().max() if inputs.numel() else inputs.new_ones(())
        largest = torch.where(largest > 0, largest, 1.0)
        before.append(_Call(inputs / largest, largest))
        return before[-1].inputs

    return at


def _compare(before: list[_Call], live: list[Tensor]) -> Callable[[int, Tensor], Tensor]:
    def at(number: int, inputs: Tensor) -> Tensor:
        if number >= len(before) or before[number].inputs.shape != inputs.shape:
            # Values decide what is called (a mixture of experts): all that is not 0 counts.
            live.append(inputs != 0)
            return inputs
        then, now = before[number].inputs, inputs / before[number].largest
        live.append((now - then).abs() > EQUAL * (now.abs() + then.abs()))
        return now

    return at


def _randomise(live: list[Tensor], draw: UniformDraws) -> Callable[[int, Tensor], Tensor]:
    def at(number: int, inputs: Tensor) -> Tensor:
        known = number < len(live) and live[number].shape == inputs.shape
        mask = live[number] if known else inputs != 0
        return _FreshValues.apply(inputs, mask, draw(*inputs.shape))  # type: ignore[no-any-return]

    return at


class _FreshValues(torch.autograd.Function):
    """Returns the fresh values where live, else 0.

    Backward it returns the gradient's sign times the fresh values. Gradients of equal size would
    cancel in whatever subtracts a mean (a norm written by hand).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, live: Tensor, fresh: Tensor) -> Tensor:
        ctx.save_for_backward(fresh)
        return fresh * live

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (fresh,) = ctx.saved_tensors
        return gradients[0].sign() * fresh, None, None
