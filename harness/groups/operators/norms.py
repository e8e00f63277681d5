"""Gives rules to norms, reductions and softmax: what takes statistics over a dimension."""

from typing import Any

from torch import Tensor, nn

from harness.groups.ids import Ids
from harness.groups.operators.call import Call, Rules
from harness.groups.operators.products import FIXED
from harness.groups.tracing.labels import Axis
from harness.groups.tracing.trace import Trace
from harness.vocabulary.nested import iter_tensors


def batch_norm(trace: Trace, call: Call) -> None:
    """Joins channels with scale, shift and statistics; each channel is normalised alone."""
    ids = trace.labels.single(call["input"])
    others = [found for dim, found in ids.items() if dim != 1]
    trace.pin(others, "a batch norm takes statistics over it")
    _tie_affine(trace, call, ids.get(1), "weight", "bias", "running_mean", "running_var")
    trace.labels.put(call.out, [Axis((1,), ids[1])] if 1 in ids else [])


def layer_norm(trace: Trace, call: Call) -> None:
    ids = trace.labels.single(call["input"])
    first = call["input"].dim() - len(call["normalized_shape"])
    for dim, found in ids.items():
        if dim >= first and len(call["normalized_shape"]) > 1:
            trace.pin([found], "a layer norm over several dimensions takes statistics over it")
        elif dim >= first:
            trace.table.mix(found, trace.module)
    for parameter in (call["weight"], call["bias"]):
        own = trace.labels.single(parameter)
        for dim in range(len(call["normalized_shape"]) if parameter is not None else 0):
            trace.tie(ids.get(first + dim), own.get(dim), FIXED)
    trace.labels.put(call.out, [Axis((dim,), found) for dim, found in ids.items()])


def group_norm(trace: Trace, call: Call) -> None:
    """Makes each group of a norm one unit; one group for all is like a layer norm."""
    channels = trace.labels.single(call["input"]).get(1)
    _tie_affine(trace, call, channels, "weight", "bias")
    if channels is not None and call["group"] == 1:
        trace.table.mix(channels, trace.module)
    elif channels is not None:
        blocks = channels.reshape(call["group"], -1)
        trace.table.join(blocks[:, :1], blocks)
    trace.labels.put(call.out, [Axis((1,), channels)] if channels is not None else [])


def _tie_affine(trace: Trace, call: Call, channels: Ids | None, *names: str) -> None:
    for name in names:
        if call.get(name) is not None:
            trace.tie(channels, trace.labels.single(call[name]).get(0), FIXED)


def reduction(trace: Trace, call: Call) -> None:
    """Pins what is summed over or compared; a norm of the kind sum |x|^p may lose a 0."""
    source = call.get("self", "input")
    reduced, keeps = _reduced(call, source), call.out.dim() == source.dim()
    trace.labels.split_joint(source, reduced)
    axes = []
    for dim, ids in trace.labels.single(source).items():
        if dim not in reduced:
            left = dim if keeps else dim - sum(other < dim for other in reduced)
            axes.append(Axis((left,), ids))
        elif call.name != "linalg_vector_norm" or not trace.labels.is_zero(source):
            _pin_reduced(trace, call, ids)
    for out in call.outs:
        trace.labels.put(out, axes if out.dim() == call.out.dim() else [])


def _pin_reduced(trace: Trace, call: Call, ids: Ids) -> None:
    why = f"{call.name} is taken over it"
    if trace.modules and isinstance(trace.modules[-1][1], nn.MultiheadAttention):
        # It returns the mean of the heads' weights, which hardly any model reads.
        trace.pin_once_read(call.outs, ids, why)
    else:
        trace.pin([ids], why)


def _reduced(call: Call, source: Tensor) -> set[int]:
    dims: Any = call.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    return {dim % source.dim() for dim in dims} if dims else set(range(source.dim()))


def along(trace: Trace, call: Call) -> None:
    """Pins the dimension along which each entry depends on the others; the shape stays."""
    dim = call["dim"] % max(call["self"].dim(), 1)
    trace.labels.split_joint(call["self"], {dim})
    ids = trace.labels.single(call["self"])
    trace.pin([ids.pop(dim)] if dim in ids else [], f"{call.name} is taken over it")
    for out in call.outs:
        trace.labels.put(out, [Axis((d,), found) for d, found in ids.items()])


def rms_norm_module(trace: Trace, module: Any, inputs: Any, outputs: Any) -> None:
    """Follows a module that divides by the root mean square of the last dimension.

    It is followed as a whole, because its operators differ by version and by library.
    """
    source, out = next(iter_tensors(inputs)), next(iter_tensors(outputs))
    ids, last = trace.labels.single(source), source.dim() - 1
    trace.tie(ids.get(last), trace.labels.single(module.weight).get(0), FIXED)
    if last in ids and trace.labels.is_zero(source):
        trace.table.mix(ids[last], trace.module)
    elif last in ids:
        trace.pin([ids[last]], "an RMS norm counts it, and it is not 0 where it is removed")
    trace.labels.mark_zero([out], [source], trace.labels.is_zero(source))
    trace.labels.put(out, [Axis((dim,), found) for dim, found in ids.items()])


REDUCTIONS = (
    "all", "amax", "amin", "any", "argmax", "argmin", "linalg_vector_norm", "logsumexp", "max",
    "mean", "min", "norm", "prod", "std", "std_mean", "sum", "var", "var_mean",
)  # fmt: skip
ALONG = (
    "_log_softmax", "_safe_softmax", "_softmax", "cummax", "cumprod", "cumsum", "sort", "topk",
)  # fmt: skip
NORMS: Rules = {
    **dict.fromkeys(
        (
            "_batch_norm_no_update",
            "_batch_norm_with_update",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "batch_norm",
            "cudnn_batch_norm",
            "miopen_batch_norm",
            "native_batch_norm",
        ),
        batch_norm,
    ),
    "native_layer_norm": layer_norm,
    "native_group_norm": group_norm,
}
RULES: Rules = {
    **NORMS, **dict.fromkeys(REDUCTIONS, reduction), **dict.fromkeys(ALONG, along)
}  # fmt: skip
