"""Which weights still connect input and output: layer collapse that a density does not show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from harness.tensors import Tensors, evaluating, prunable_weights

SEED = 0
# Relative difference up to which two values are equal: atomic additions on CUDA round as they come.
EQUAL = 1e-12
# What an activation with f(0) > 0 makes of 0: small, or a faint signal would be rounded away.
REST = 2.0**-20

LAYERS = {"linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))}
# torch's functions that pass every unit on to itself: norms, dropout, activations with f(0) = 0.
PASSING = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish",
    "hardswish", "hardtanh", "tanh", "softsign", "tanhshrink", "hardshrink", "softshrink",
}  # fmt: skip
RESTING = {"sigmoid", "hardsigmoid", "softplus"}
MEANS: dict[str, Callable[..., Tensor]] = {
    "max_pool1d": F.avg_pool1d, "max_pool2d": F.avg_pool2d, "max_pool3d": F.avg_pool3d,
    "adaptive_max_pool1d": F.adaptive_avg_pool1d, "adaptive_max_pool2d": F.adaptive_avg_pool2d,
    "adaptive_max_pool3d": F.adaptive_avg_pool3d, "amax": torch.mean,
}  # fmt: skip


@dataclass(frozen=True)
class Reach:
    """
    effective_density: share of all prunable weights that are on a path, in [0, 1].
    empty: prunable tensors without a non-zero weight.
    dead_units: per tensor that has any, its rows (first dimension: neurons, filters; inputs of a
        transposed convolution) without a weight on a path.
    """

    effective_density: float
    empty: list[str]
    dead_units: dict[str, int]


def reach(model: nn.Module, shape: tuple[int, ...]) -> Reach:
    """What of the network still connects its input (of `shape`, without the batch) to its output.

    A network without any zero weight counts as connected and is not traced; others as `reachable`.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    weights = prunable_weights(model)
    if all(bool(weight.all()) for weight in weights.values()):
        return Reach(1.0, [], {})
    masks = reachable(model, shape)
    connected = sum(int(mask.count_nonzero()) for mask in masks.values())
    dead = {name: int((~mask.flatten(1).any(1)).count_nonzero()) for name, mask in masks.items()}
    return Reach(
        effective_density=connected / sum(mask.numel() for mask in masks.values()),
        empty=[name for name, weight in weights.items() if not weight.any()],
        dead_units={name: count for name, count in dead.items() if count},
    )


def reachable(model: nn.Module, shape: tuple[int, ...]) -> Tensors:
    """Per prunable weight a bool tensor, True where it lies on a path of non-zero weights.

    Forward passes of two samples find the layer inputs that change with the network's input (a
    unit that only a bias or sigmoid(0) feeds does not); a third one and its backward pass find the
    weights that such an input is multiplied by and that the output depends on. Weights are
    replaced by random positive ones where they are not 0, biases by 0; norms, dropout and
    activations pass their input on, and max-pooling gives the mean of its window: so no path is
    closed by the values of one sample. Values and gradients begin anew at every layer of the third
    pass, so that they neither vanish nor overflow in deep networks.

    Embeddings count as inputs, for token ids have no gradient. A dead factor closes the paths of
    the factor it multiplies (keys of an attention without queries), unless a sigmoid made it.
    Norms and maxima that are not torch's own functions are taken as they are: a norm then ties
    its units together, a maximum passes its winner only.

    The model is left unchanged: parameters, gradients, buffers, mode of every module, also after
    an error. torch's random streams are not used.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    weights = prunable_weights(model)
    draw = _Draw(next(iter(weights.values())).device)
    stand_ins = _stand_ins(model, draw)
    before: list[_Call] = []
    live: list[Tensor] = []
    with torch.no_grad():
        _run(model, stand_ins, shape, _Walk(draw, _remember(before)))
        _run(model, stand_ins, shape, _Walk(draw, _compare(before, live)))
    trained = {name: stand_ins[name].requires_grad_() for name in weights}
    with torch.enable_grad():
        outputs = _run(model, stand_ins, shape, _Walk(draw, _renew(live, draw)))
        # Not the plain sum, which is constant after a softmax.
        total = (outputs * draw(*outputs.shape)).sum()
        gradients = torch.autograd.grad(total, list(trained.values()), materialize_grads=True)
    found = zip(weights.items(), gradients, strict=True)
    return {name: (gradient != 0) & (weight != 0) for (name, weight), gradient in found}


class _Draw:
    """draw(*shape): uniform in [0.5, 1], float64, the same numbers in every call of `reachable`."""

    def __init__(self, device: torch.device):
        self.generator = torch.Generator(device).manual_seed(SEED)

    def __call__(self, *shape: int) -> Tensor:
        drawn = torch.empty(shape, dtype=torch.float64, device=self.generator.device)
        return drawn.uniform_(0.5, 1, generator=self.generator)


def _stand_ins(model: nn.Module, draw: _Draw) -> Tensors:
    """Parameters of mean inputs: rows are positive where the weight is not pruned and sum to 1."""
    prunable = prunable_weights(model)
    found = {}
    for name, parameter in model.named_parameters():
        drawn = draw(*parameter.shape)
        if "bias" in name.rpartition(".")[2]:
            drawn.zero_()
        elif name in prunable:
            drawn *= prunable[name] != 0
        if drawn.dim() > 1:
            rows = drawn.flatten(1)
            rows /= rows.sum(1, keepdim=True).clamp_min(1e-300)
        found[name] = drawn
    return found


def _run(model: nn.Module, stand_ins: Tensors, shape: tuple[int, ...], walk: "_Walk") -> Tensor:
    # Copies, because a model may write into its buffers.
    buffers = {
        name: buffer.to(torch.float64 if buffer.is_floating_point() else buffer.dtype, copy=True)
        for name, buffer in model.named_buffers()
    }
    inputs = (walk.draw(1, *shape),)
    with evaluating(model), walk:
        outputs: Tensor = functional_call(model, {**stand_ins, **buffers}, inputs)
    return outputs


class _Walk(TorchFunctionMode):
    """Inside, torch's functions let every path through, and layers see what `renewed` returns.

    renewed: (number of the layer's call, its inputs) -> inputs.
    """

    def __init__(self, draw: _Draw, renewed: Callable[[int, Tensor], Tensor]):
        super().__init__()
        self.draw, self.renewed = draw, renewed
        self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # relu_ and relu are the same here.
        name, named = getattr(func, "__name__", "").rstrip("_"), kwargs or {}
        if not args or not isinstance(args[0], Tensor):
            return func(*args, **named)
        first = args[0]
        if name in LAYERS:
            self.calls += 1
            return func(self.renewed(self.calls - 1, first.double()), *args[1:], **named)
        if name.startswith("embedding"):
            found = func(*args, **named)
            return found * self.draw(*found.shape)
        if name in PASSING:
            return first.clone()
        if name in RESTING:
            return first + REST
        if name in MEANS:
            return _mean(name, func, args, named)
        return func(*args, **named)


def _mean(name: str, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    named = {key: value for key, value in named.items() if key != "return_indices"}
    if not name.startswith("max_pool"):
        return MEANS[name](*args, **named)
    keys = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    window = {**dict(zip(keys, args[1:], strict=False)), **named}
    if window.pop("dilation", 1) not in (1, (1,), (1, 1), (1, 1, 1)):
        return func(*args, **named)  # torch has no mean over a dilated window
    window["stride"] = window.get("stride") or window["kernel_size"]
    return MEANS[name](args[0], **window)


@dataclass(frozen=True)
class _Call:
    """A layer's inputs in the first pass, divided by the largest: at most 1."""

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


def _renew(live: list[Tensor], draw: _Draw) -> Callable[[int, Tensor], Tensor]:
    def at(number: int, inputs: Tensor) -> Tensor:
        known = number < len(live) and live[number].shape == inputs.shape
        mask = live[number] if known else inputs != 0
        return _Renew.apply(inputs, mask, draw(*inputs.shape))  # type: ignore[no-any-return]

    return at


class _Renew(torch.autograd.Function):
    """The fresh values where live, else 0; backward the sign of the gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, live: Tensor, fresh: Tensor) -> Tensor:
        return fresh * live

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].sign(), None, None
