"""A forward pass in which every path through torch's functions is open."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

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


class Draw:
    """draw(*shape): uniform in [0.5, 1], float64, the same numbers in every call of `reachable`."""

    def __init__(self, device: torch.device):
        self.generator = torch.Generator(device).manual_seed(SEED)

    def __call__(self, *shape: int) -> Tensor:
        drawn = torch.empty(shape, dtype=torch.float64, device=self.generator.device)
        return drawn.uniform_(0.5, 1, generator=self.generator)


class Walk(TorchFunctionMode):
    """Inside, torch's functions let every path through, and layers see what `renewed` returns.

    renewed: (number of the layer's call, its inputs) -> inputs.
    """

    def __init__(self, draw: Draw, renewed: Callable[[int, Tensor], Tensor]):
        super().__init__()
        self.draw, self.renewed = draw, renewed
        self.calls = 0
        self.called: set[int] = set()  # ids of the weights of layers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # relu_ and relu are the same here.
        name, named = getattr(func, "__name__", "").rstrip("_"), kwargs or {}
        if not args or not isinstance(args[0], Tensor):
            return func(*args, **named)
        first = args[0]
        if name in PRODUCTS:
            return func(*map(_double, args), **named)
        if name in LAYERS:
            self.calls += 1
            self.called |= {id(each) for each in (*args[1:2], named.get("weight"))}
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
