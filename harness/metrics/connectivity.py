"""Finds the weights that connect input and output: density does not show layer collapse."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.metrics.open_pass import OpenPass, UniformDraws, meets_input
from harness.vocabulary.recomputation import no_checkpoints
from harness.vocabulary.tensors import Tensors, eval_mode, prunable_weights

# Relative difference up to which two values are equal: the order of atomic additions on CUDA
# varies.
EQUAL = 1e-12

# Model -> shape of its input -> connectivity of the dense model.
_DENSE: WeakKeyDictionary[nn.Module, "dict[tuple[int, ...], Connectivity]"] = WeakKeyDictionary()


@dataclass(frozen=True)
class Connectivity:
    """Holds how much of a model still connects its input to its output.

    effective_density: fraction of all prunable weights that are on a path, in [0, 1]; None where
    the probe does not understand the model, for the reason in `unknown`.
    empty: prunable tensors without a non-zero weight.
    dead_units: per tensor that has any, its rows (first dimension: neurons, filters; inputs of a
    transposed convolution) without a weight on a path.
    """

    effective_density: float | None
    empty: list[str]
    dead_units: dict[str, int] | None
    unknown: str | None = None


def connectivity(model: nn.Module, shape: tuple[int, ...]) -> Connectivity:
    """Returns how much of the model still connects its input, of `shape`, to its output.

    A weight that is 0 is on no path; for other weights see `connected_weights`. In the dense model
    every weight is on a path, with two exceptions: weights that meet nothing but padding, and
    weights of layers that no pass calls. The latter count as dead in every model. The probe does
    not understand a model if it finds other weights without a path in the dense one (spikes hide
    whether an input changes). Nor does it if values decide what is called (a mixture of experts)
    and it has not called all layers. Its result for such a model does not count; without any zero
    weight the model counts as connected.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    weights = prunable_weights(model)
    if all(bool(weight.all()) for weight in weights.values()):
        dense = _dense(model, shape)
        return Connectivity(1.0, [], {}) if dense.unknown else dense
    masks, dense = connected_weights(model, shape), _dense(model, shape)
    empty = [name for name, weight in weights.items() if not weight.any()]
    if dense.unknown:
        return Connectivity(None, empty, None, dense.unknown)
    return Connectivity(_connected_fraction(masks), empty, _dead_units(masks))


def _dense(model: nn.Module, shape: tuple[int, ...]) -> Connectivity:
    """Returns the dense model's; computed once per model, as it does not depend on the weights."""
    known = _DENSE.setdefault(model, {})
    if shape not in known:
        ones = {name: torch.ones_like(weight) for name, weight in prunable_weights(model).items()}
        probe = _probe(model, shape, ones)
        unknown = _reason_unknown(probe)
        fraction = None if unknown else _connected_fraction(probe.masks)
        dead = None if unknown else _dead_units(probe.masks)
        known[shape] = Connectivity(fraction, [], dead, unknown)
    return known[shape]


def _reason_unknown(probe: "_Probe") -> str | None:
    """Returns what the probe misses in the dense model, or None if it misses nothing."""
    layer_calls = probe.open_pass.layer_calls
    calls = {name: layer_calls.get(id(weight), []) for name, weight in probe.stand_ins.items()}
    missed = [name for name, mask in probe.masks.items() if not calls[name] and not mask.any()]
    if missed and probe.open_pass.reads_values:
        return f"values decide what is called, and the probe has not called {_layers(missed)}"
    blind = [
        name
        for name, mask in probe.masks.items()
        if calls[name] and not mask.all()
        if bool((meets_input(probe.stand_ins[name], calls[name]) & ~mask).any())
    ]
    return f"no path is found through {_layers(blind)} of the dense model" if blind else None


def _connected_fraction(masks: Tensors) -> float:
    connected = sum(int(mask.count_nonzero()) for mask in masks.values())
    return connected / sum(mask.numel() for mask in masks.values())


def _layers(names: list[str]) -> str:
    return ", ".join(name.removesuffix(".weight") for name in names)


def _dead_units(masks: Tensors) -> dict[str, int]:
    """Returns the number of rows without a True, of each tensor that has any."""
    dead = {name: int((~mask.flatten(1).any(1)).count_nonzero()) for name, mask in masks.items()}
    return {name: count for name, count in dead.items() if count}


def connected_weights(model: nn.Module, shape: tuple[int, ...]) -> Tensors:
    """Returns per prunable weight a mask, True where it lies on a path of non-zero weights.

    Forward passes of two samples find the layer inputs that change with the model's input (a
    unit that only a bias or sigmoid(0) feeds does not); a third one and its backward pass find the
    weights that such an input is multiplied by and that the output depends on. Weights are
    replaced by random positive ones where they are not 0, biases by 0; norms, dropout and
    activations pass their input on, and max-pooling gives the mean of its window: so no path is
    closed by the values of one sample. Values and gradients begin anew at every layer of the third
    pass, so that they neither vanish nor overflow in deep models.

    Embeddings count as inputs, for token ids have no gradient. A dead factor closes the paths of
    the factor it multiplies (keys of an attention without queries), unless a sigmoid made it.
    Norms and maxima that are not torch's own functions are taken as they are: a norm then ties
    its units together, a maximum passes its winner only.

    The model is left unchanged: parameters, gradients, buffers, mode of every module, also after
    an error. torch's random streams are not used.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    return _probe(model, shape, prunable_weights(model)).masks


@dataclass(frozen=True, eq=False)
class _Probe:
    """Holds the result of `connected_weights`, and the third pass, with its stand-ins."""

    masks: Tensors
    stand_ins: Tensors
    open_pass: OpenPass


def _probe(model: nn.Module, shape: tuple[int, ...], weights: Tensors) -> _Probe:
    """Runs the three passes; of the prunable `weights` only where they are 0 counts."""
    draw = UniformDraws(next(iter(weights.values())).device)
    stand_ins = _stand_ins(model, draw, weights)
    before: list[_Call] = []
    live: list[Tensor] = []
    with torch.no_grad():
        _run(model, stand_ins, shape, OpenPass(draw, _remember(before)))
        _run(model, stand_ins, shape, OpenPass(draw, _compare(before, live)))
    trained = {name: stand_ins[name].requires_grad_() for name in weights}
    with torch.enable_grad():
        last = OpenPass(draw, _randomise(live, draw))
        outputs = _run(model, stand_ins, shape, last)
        # Not the plain sum, which is constant after a softmax.
        total = (outputs * draw(*outputs.shape)).sum()
        gradients = torch.autograd.grad(total, list(trained.values()), materialize_grads=True)
    pairs = zip(weights.items(), gradients, strict=True)
    masks = {name: (gradient != 0) & (weight != 0) for (name, weight), gradient in pairs}
    return _Probe(masks, stand_ins, last)


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


def _run(
    model: nn.Module, stand_ins: Tensors, shape: tuple[int, ...], open_pass: OpenPass
) -> Tensor:
    # Copies, because a model may write into its buffers.
    buffers = {
        name: buffer.to(torch.float64 if buffer.is_floating_point() else buffer.dtype, copy=True)
        for name, buffer in model.named_buffers()
    }
    inputs = (open_pass.draw(1, *shape),)
    with eval_mode(model), no_checkpoints(), open_pass:
        outputs: Tensor = functional_call(model, {**stand_ins, **buffers}, inputs)
    return outputs


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
