"""Gives rules to operators that compute each entry from the entries at its place."""

from torch import Tensor

from harness.groups.ids import Ids
from harness.groups.operators.call import Call, Rules
from harness.groups.tracing.labels import Axis
from harness.groups.tracing.trace import Trace

ELEMENTWISE = (
    "_prelu_kernel", "_to_copy", "abs", "add", "addcdiv", "addcmul", "alias", "atan",
    "bernoulli", "bitwise_and", "bitwise_not", "bitwise_or", "celu", "clamp", "clamp_max",
    "clamp_min", "clone", "contiguous", "copy", "cos", "detach", "div", "elu", "empty_like",
    "eq", "erf", "erfc", "exp", "expm1", "fill", "floor", "floor_divide", "full_like", "ge",
    "gelu", "gt", "hardsigmoid", "hardswish", "hardtanh", "isinf", "isnan", "le", "leaky_relu",
    "lerp", "lift_fresh", "log", "log1p", "log_sigmoid", "log_sigmoid_forward", "logical_and",
    "logical_not", "logical_or", "lt", "masked_fill", "maximum", "minimum", "mish", "mul",
    "nan_to_num", "native_dropout", "ne", "neg", "ones_like", "positive", "pow", "prelu",
    "rand_like", "randn_like", "reciprocal", "relu", "relu6", "remainder", "round", "rsqrt",
    "rsub", "selu", "sgn", "sigmoid", "sign", "silu", "sin", "softplus", "softshrink", "sqrt",
    "square", "sub", "tanh", "tanhshrink", "threshold", "to", "trunc", "where", "zero",
    "zeros_like",
)  # fmt: skip
# What they make has no ids, and reads values of none.
CREATING = (
    "_efficientzerotensor", "arange", "empty", "empty_strided", "eye", "full", "linspace",
    "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", "normal", "ones",
    "rand", "randn", "randperm", "scalar_tensor", "tril", "triu", "uniform", "zeros",
)  # fmt: skip


def elementwise(trace: Trace, call: Call) -> None:
    """Joins the ids at the same places, with the dimensions aligned from the last one on."""
    if not call.outs:
        return
    out = max(call.outs, key=Tensor.dim)
    inputs = [tensor for tensor in call.tensors() if tensor.dim() <= out.dim()]
    if not _same_axes(trace, inputs, out):
        for tensor in inputs:
            trace.labels.split_joint(tensor)
    found: dict[tuple[int, ...], Ids] = {}
    for tensor in inputs:
        _align(trace, tensor, out, found)
    for dims, ids in found.items():
        if any(_is_rigid(trace, tensor, out, dims) for tensor in inputs):
            trace.pin([ids], "it meets values of a fixed size")
    for made in call.outs:
        same = made.shape == out.shape
        trace.labels.put(made, [Axis(d, ids) for d, ids in found.items()] if same else [])


def _same_axes(trace: Trace, inputs: list[Tensor], out: Tensor) -> bool:
    """True if no axis of several dimensions is among the inputs, or all have the same axes."""
    axes = [[axis.dims for axis in trace.labels.axes(tensor)] for tensor in inputs]
    if all(len(dims) == 1 for tensor in axes for dims in tensor):
        return True
    whole = [dims for tensor, dims in zip(inputs, axes, strict=True) if tensor.dim()]
    shapes = {tensor.shape for tensor in inputs if tensor.dim()}
    return shapes == {out.shape} and all(dims == whole[0] for dims in whole)


def _align(trace: Trace, tensor: Tensor, out: Tensor, found: dict[tuple[int, ...], Ids]) -> None:
    before = out.dim() - tensor.dim()
    for axis in trace.labels.axes(tensor):
        dims = tuple(dim + before for dim in axis.dims)
        if axis.ids.size == 1 and out.shape[dims[0]] > 1:
            trace.pin([axis.ids], "it is repeated for many units")
        elif dims in found:
            trace.table.join(found[dims], axis.ids)
        else:
            found[dims] = axis.ids


def _is_rigid(trace: Trace, tensor: Tensor, out: Tensor, dims: tuple[int, ...]) -> bool:
    """True if the tensor has these dimensions, without ids, and differs along them."""
    before = out.dim() - tensor.dim()
    known = {dim for axis in trace.labels.axes(tensor) for dim in axis.dims}
    own = [dim - before for dim in dims if dim >= before]
    return any(tensor.shape[d] > 1 and d not in known and tensor.stride(d) != 0 for d in own)


def creating(trace: Trace, call: Call) -> None:
    for out in call.outs:
        trace.labels.put(out, [])


RULES: Rules = {**dict.fromkeys(ELEMENTWISE, elementwise), **dict.fromkeys(CREATING, creating)}
