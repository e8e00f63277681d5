"""Runs a forward pass in which every path through torch's functions is open."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.vocabulary.nested import iter_tensors, map_tensors

SEED = 0
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


# Take operands of one dtype only; a tensor that is a plain attribute keeps its own.
PRODUCTS = {"mm", "bmm", "mv", "matmul", "__matmul", "__rmatmul", "addmm", "baddbmm", "_sparse_mm"}


# What makes Python's numbers, loops and shapes of values, which may then decide what is called.
READING = {
    "item", "tolist", "numpy", "__int", "__float", "__bool", "__index", "nonzero", "argwhere",
    "masked_select",
}  # fmt: skip
# A layer's weight -> outputs of the call if all its inputs are 1.
LayerCall = Callable[[Tensor], Tensor]


class UniformDraws:
    """Draws uniform numbers in [0.5, 1] of a shape, float64, the same numbers each time."""

    def __init__(self, device: torch.device):
        self.generator = torch.Generator(device).manual_seed(SEED)

    def __call__(self, *shape: int) -> Tensor:
        drawn = torch.empty(shape, dtype=torch.float64, device=self.generator.device)
        return drawn.uniform_(0.5, 1, generator=self.generator)


class OpenPass(TorchFunctionMode):
    """Opens every path through torch's functions; layers get what `replace_inputs` returns.

    replace_inputs: (number of the layer's call, its inputs) -> inputs.
    layer_calls: id of a layer's weight -> its calls.
    reads_values: True if Python has read the values of a tensor.
    """

    def __init__(self, draw: UniformDraws, replace_inputs: Callable[[int, Tensor], Tensor]):
        super().__init__()
        self.draw, self.replace_inputs = draw, replace_inputs
        self.call_count = 0
        self.layer_calls: dict[int, list[LayerCall]] = {}
        self.reads_values = False
        # By id, which is a tensor's own while it is held: what padding left of ones.
        self._padded: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # relu_ and relu are the same here.
        name, named = getattr(func, "__name__", "").rstrip("_"), kwargs or {}
        self.reads_values |= name in READING
        if not args or not isinstance(args[0], Tensor):
            return _call(func, args, named)
        first = args[0]
        if name in PRODUCTS:
            return func(*map(_double, args), **named)
        if name in LAYERS:
            self.call_count += 1
            self._record_call(func, args, named)
            replaced = self.replace_inputs(self.call_count - 1, first.double())
            return func(replaced, *args[1:], **named)
        if name == "pad":
            result = func(*args, **named)
            self._padded[id(result)] = result, func(self._ones(first), *args[1:], **named)
            return result
        if name.startswith("embedding"):
            result = func(*args, **named)
            return result * self.draw(*result.shape)
        if name in PASSING:
            return first.clone()
        if name in RESTING:
            return first + REST
        if name in MEANS:
            return _mean(name, func, args, named)
        return _call(func, args, named)

    def _record_call(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        weight = args[1] if len(args) > 1 else named["weight"]
        others = {key: value for key, value in named.items() if key != "weight"}
        ones = self._ones(args[0])
        self.layer_calls.setdefault(id(weight), []).append(
            lambda by: func(ones, by, *args[2:], **others)
        )

    def _ones(self, tensor: Tensor) -> Tensor:
        """Returns ones in place of the tensor; 0 where it was padded with 0."""
        known = self._padded.get(id(tensor))
        unit = torch.ones((), dtype=torch.float64, device=tensor.device)
        return known[1] if known else unit.expand(tensor.shape)


@torch.enable_grad()
def meets_input(weight: Tensor, layer_calls: Sequence[LayerCall]) -> Tensor:
    """Returns True where entries of a layer's weight meet more than padding in any of its calls."""
    ones = torch.ones_like(weight, requires_grad=True)
    total = torch.stack([call(ones).sum() for call in layer_calls]).sum()
    (gradient,) = torch.autograd.grad(total, ones)
    return gradient != 0


def _call(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Calls func; in float64, if it refuses the float32 constants of a model beside float64."""
    try:
        return func(*args, **named)
    except RuntimeError:
        name = getattr(func, "__name__", "")
        dtypes = {t.dtype for t in iter_tensors((args, named)) if t.is_floating_point()}
        if len(dtypes) < 2 or (name.endswith("_") and not name.endswith("__")):
            raise  # what writes in place would write into a copy
    args, named = map_tensors((args, named), _double)
    return func(*args, **named)


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


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
