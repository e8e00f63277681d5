"""Says of each operator whether its results are 0 where a removed unit makes its inputs 0."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.groups.operators import (
    elementwise,
    joining,
    layers,
    movement,
    norms,
    picking,
    products,
    reshape,
)
from harness.groups.operators.call import Call
from harness.groups.tracing.labels import Axis, Labels

# Two values for each tensor that is not 0, so that no two of them cancel out.
OTHERS = (0.7, -1.3, 2.1, -0.4, 1.9, -2.6, 0.2)
FLAT = ("cummax", "cumprod", "cumsum", "sort", "topk")  # along a dimension, but for softmax


def gives_zero(labels: Labels, call: Call) -> bool:
    """True if each result is 0 wherever the parameters of one of its units are 0."""
    kind = KINDS.get(call.name) or KINDS.get(call.name.rstrip("_"))
    return kind is not None and kind(labels, call)


def _never(labels: Labels, call: Call) -> bool:
    return False


def _moved(labels: Labels, call: Call) -> bool:
    return all(labels.is_zero(tensor) for tensor in call.tensors() if labels.axes(tensor))


def _padded(labels: Labels, call: Call) -> bool:
    return not call.get("value") and _moved(labels, call)


def _scaled(labels: Labels, call: Call) -> bool:
    """Says it of a norm: whatever it subtracts and divides by, scale and shift are 0."""
    return call["weight"] is not None and _are_zero(labels, call["weight"], call["bias"])


def _layer(labels: Labels, call: Call) -> bool:
    rows = _are_zero(labels, call["weight"], call["bias"])
    channel = call.out.dim() - 1 if call.name == "linear" else 1
    others = [axis for axis in labels.axes(call.out) if axis.dims != (channel,)]
    return rows and (not others or (call["bias"] is None and labels.is_zero(call["input"])))


def _product(labels: Labels, call: Call) -> bool:
    left = labels.is_zero(call.get("mat1", "batch1", "self"))
    right = labels.is_zero(call.get("mat2", "batch2"))
    last = call.out.dim() - 1
    by_dim = {last: right, last - 1: left}
    dims = {dim for axis in labels.axes(call.out) for dim in axis.dims}
    alone = call.get("mat1", "batch1") is None
    added = dims if alone else _zero_dims(labels, call["self"], call.out)
    return dims <= added and all(by_dim.get(dim, left or right) for dim in dims)


def _zero_dims(labels: Labels, tensor: Tensor, out: Tensor) -> set[int]:
    """Returns the dimensions of `out` in which the tensor has units, and is 0 without them."""
    before = out.dim() - tensor.dim()
    own = {dim + before for axis in labels.axes(tensor) for dim in axis.dims}
    return own if labels.is_zero(tensor) else set()


def _elementwise(labels: Labels, call: Call) -> bool:
    return all(_tried(labels, call, axis) for axis in labels.axes(call.out))


def _tried(labels: Labels, call: Call, axis: Axis) -> bool:
    """Calls the operator on single entries: 0 of the tensors that have the axis and are 0 there."""
    order = {id(tensor): number for number, tensor in enumerate(call.tensors())}

    def entry(value: Any, trial: int) -> Any:
        if isinstance(value, list | tuple):
            return [entry(item, trial) for item in value]
        if not isinstance(value, Tensor):
            return value
        before = call.out.dim() - value.dim()
        own = [tuple(dim + before for dim in each.dims) for each in labels.axes(value)]
        zero = axis.dims in own and labels.is_zero(value)
        other = OTHERS[(2 * order[id(value)] + trial) % len(OTHERS)]
        made = torch.tensor(0.0 if zero else other).view([1] * value.dim())
        return (made > 0 if value.dtype == torch.bool else made).to(value.dtype)

    for trial in range(4):
        try:
            outs = call.func(**{key: entry(value, trial) for key, value in call.arguments.items()})
        except RuntimeError:  # a value that this operator refuses, such as a probability above 1
            return False
        first = outs if isinstance(outs, Tensor) else outs[0]
        if bool(first.count_nonzero()):
            return False
    return True


def _are_zero(labels: Labels, *tensors: Tensor | None) -> bool:
    return all(labels.is_zero(tensor) for tensor in tensors if tensor is not None)


Kind = Callable[[Labels, Call], bool]
KINDS: dict[str, Kind] = {
    **dict.fromkeys((*joining.RULES, *movement.RULES, *picking.RULES), _moved),
    **dict.fromkeys((*reshape.RULES, *layers.POOLING), _moved),
    **dict.fromkeys((*norms.REDUCTIONS, *FLAT), _moved),
    **dict.fromkeys(norms.NORMS, _scaled),
    **dict.fromkeys(layers.CONVOLUTIONS, _layer),
    **dict.fromkeys(products.ATTENTIONS, lambda labels, call: labels.is_zero(call["value"])),
    **dict.fromkeys(products.PRODUCTS, _product),
    **dict.fromkeys(elementwise.ELEMENTWISE, _elementwise),
    "constant_pad_nd": _padded,
    "logsumexp": _never,
    "empty_like": _never,
    "linear": _layer,
    "embedding": lambda labels, call: labels.is_zero(call["weight"]),
}
