"""Gives rules to operators that lay tensors side by side: concatenate and stack."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from harness.groups.ids import Ids
from harness.groups.operators.call import Call, Rules
from harness.groups.operators.movement import SIDE
from harness.groups.tracing.labels import Axis
from harness.groups.tracing.trace import Trace


def concatenate(trace: Trace, call: Call) -> None:
    tensors = [t for t in call["tensors"] if t.shape != (0,)]
    dim = call["dim"] % call.out.dim()
    if _joint_alike(trace, tensors, dim):
        first = trace.labels.axes(tensors[0])
        for tensor in tensors[1:]:
            for one, other in zip(first, trace.labels.axes(tensor), strict=True):
                trace.table.join(one.ids, other.ids)
        return trace.labels.put(call.out, first)
    ids = [trace.labels.single(tensor) for tensor in tensors]
    axes = [Axis((d,), found) for d, found in _shared(trace, ids, tensors, {dim}).items()]
    parts = [found[dim] for found in ids if dim in found]
    if len(parts) == len(tensors):
        axes.append(Axis((dim,), np.concatenate(parts)))
    else:
        trace.pin(parts, SIDE)
    return trace.labels.put(call.out, axes)


def stack(trace: Trace, call: Call) -> None:
    dim = call["dim"] % call.out.dim()
    ids = [trace.labels.single(tensor) for tensor in call["tensors"]]
    found = _shared(trace, ids, call["tensors"], set())
    axes = [Axis((d + (d >= dim),), shared) for d, shared in found.items()]
    trace.labels.put(call.out, axes)


def _shared(
    trace: Trace, ids: list[dict[int, Ids]], tensors: Sequence[Tensor], but: set[int]
) -> dict[int, Ids]:
    """Joins the ids of each dimension that all tensors have in common; returns the first ones."""
    shared = {}
    for dim in sorted({dim for found in ids for dim in found} - but):
        having = [found[dim] for found in ids if dim in found]
        for other in having[1:]:
            trace.table.join(having[0], other)
        if len(having) < len(tensors) and tensors[0].shape[dim] > 1:
            trace.pin(having[:1], SIDE)
        shared[dim] = having[0]
    return shared


def _joint_alike(trace: Trace, tensors: Sequence[Tensor], dim: int) -> bool:
    """True if all have the same axes, one of several dimensions, and none along `dim`."""
    dims = [[axis.dims for axis in trace.labels.axes(tensor)] for tensor in tensors]
    joint = any(len(axis) > 1 for axis in dims[0]) and all(axes == dims[0] for axes in dims)
    return joint and not any(dim in axis for axis in dims[0])


RULES: Rules = {"cat": concatenate, "stack": stack}
