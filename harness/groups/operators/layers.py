"""Gives rules to convolutions, pooling and tables."""

import numpy as np

from harness.groups.ids import Ids
from harness.groups.operators.call import Call, Rules
from harness.groups.operators.products import FIXED, contract
from harness.groups.tracing.labels import Axis
from harness.groups.tracing.trace import Trace

SPATIAL = "it is a position in a picture"
# Operator -> how many of the last dimensions it mixes.
POOLING = {
    f"{name}{end}": dims
    for dims in (1, 2, 3)
    for name, end in (
        (f"max_pool{dims}d", "_with_indices"),
        (f"mkldnn_max_pool{dims}d", ""),
        (f"avg_pool{dims}d", ""),
        (f"_adaptive_avg_pool{dims}d", ""),
        (f"adaptive_avg_pool{dims}d", ""),
        (f"adaptive_max_pool{dims}d", ""),
        (f"upsample_nearest{dims}d", ""),
        (f"_upsample_nearest_exact{dims}d", ""),
        (f"reflection_pad{dims}d", ""),
        (f"replication_pad{dims}d", ""),
    )
} | dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa"), 2)


def convolution(trace: Trace, call: Call) -> None:
    """Joins input channels with the weight's columns; its rows are the output channels.

    weight: (out, in / groups, ...), transposed (in, out / groups, ...).
    """
    inputs, weight = trace.labels.single(call["input"]), trace.labels.single(call["weight"])
    trace.pin([ids for dim, ids in inputs.items() if dim > 1], SPATIAL)
    channels, transposed = inputs.get(1), bool(call.get("transposed"))
    rows, columns = (weight.get(d) for d in ((1, 0) if transposed else (0, 1)))
    if call["groups"] > 1:
        rows = _grouped(trace, call, channels, weight, transposed)
    else:
        contract(trace, channels, columns, (call["input"], call["weight"]))
    if rows is not None:
        trace.table.make(rows)
    if call["bias"] is not None:
        trace.tie(rows, trace.labels.single(call["bias"]).get(0), FIXED)
    trace.labels.put(call.out, [Axis((1,), rows)] if rows is not None else [])


def _grouped(
    trace: Trace, call: Call, channels: Ids | None, weight: dict[int, Ids], transposed: bool
) -> Ids | None:
    """Makes each group of a convolution one unit, on its input and its output side."""
    groups, first, inner = call["groups"], weight.get(0), weight.get(1)
    if first is None:
        trace.pin([channels] if channels is not None else [], FIXED)
        return None
    blocks = first.reshape(groups, -1)
    trace.table.join(blocks[:, :1], blocks)
    if channels is None:
        trace.pin([first], "its convolution group reads the model's input")
    else:
        trace.table.join(blocks[:, :1], channels.reshape(groups, -1))
        trace.table.read(channels)
    if inner is not None and len(inner) > 1:
        trace.pin([inner], "it is a channel inside a convolution group")
    outputs = call.out.shape[1]
    return np.repeat(blocks[:, 0], outputs // groups) if transposed else first


def pooling(trace: Trace, call: Call) -> None:
    first = call.get("self", "input")
    inside = first.dim() - POOLING[call.name]
    ids = trace.labels.single(first)
    trace.pin([found for dim, found in ids.items() if dim >= inside], SPATIAL)
    axes = [Axis((dim,), found) for dim, found in ids.items() if dim < inside]
    for out in call.outs:
        trace.labels.put(out, axes)


def embedding(trace: Trace, call: Call) -> None:
    table = trace.labels.single(call["weight"])
    trace.pin([table[0]] if 0 in table else [], "it is an entry of a table that is read by index")
    trace.pin([call["indices"]], "it is used as an index")
    if 1 in table:
        trace.table.make(table[1])
    axes = [Axis((call.out.dim() - 1,), table[1])] if 1 in table else []
    trace.labels.put(call.out, axes)


CONVOLUTIONS = ("convolution", "_convolution", "convolution_overrideable")
RULES: Rules = {
    **dict.fromkeys(CONVOLUTIONS, convolution),
    **dict.fromkeys(POOLING, pooling),
    "embedding": embedding,
}
