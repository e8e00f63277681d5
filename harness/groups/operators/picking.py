"""Gives rules to operators that pick entries by tensors of indices."""

from harness.groups.operators.call import Call, Rules
from harness.groups.operators.movement import POSITION
from harness.groups.tracing.labels import Axis
from harness.groups.tracing.trace import Trace


def index(trace: Trace, call: Call) -> None:
    """Follows x[i, :, j]: dimensions that are indexed by tensors are positions."""
    source, indices = call["self"], call["indices"]
    picked = [dim for dim, item in enumerate(indices) if item is not None]
    width = max(indices[dim].dim() for dim in picked)
    adjacent = picked == list(range(picked[0], picked[-1] + 1))
    ids, axes = trace.labels.single(source), []
    trace.pin([item for item in indices if item is not None], "it is used as an index")
    for dim, found in ids.items():
        if dim in picked or not adjacent or indices[picked[0]].dtype.is_floating_point:
            trace.pin([found], POSITION)
        else:
            axes.append(Axis((dim if dim < picked[0] else dim - len(picked) + width,), found))
    trace.labels.put(call.out, axes)


def index_select(trace: Trace, call: Call) -> None:
    dim = call["dim"] % call["self"].dim()
    ids = trace.labels.single(call["self"])
    trace.pin([ids.pop(dim)] if dim in ids else [], POSITION)
    trace.labels.put(call.out, [Axis((d,), found) for d, found in ids.items()])


def gather(trace: Trace, call: Call) -> None:
    """Follows dimensions along which all entries are picked, and from the same places."""
    source, picked = call["self"], call["index"]
    ids, axes = trace.labels.single(source), []
    trace.pin([picked], "it is used as an index")
    for dim, found in ids.items():
        varies = picked.shape[dim] > 1 and picked.stride(dim) != 0
        if dim == call["dim"] % source.dim() or varies or picked.shape[dim] != source.shape[dim]:
            trace.pin([found], POSITION)
        else:
            axes.append(Axis((dim,), found))
    trace.labels.put(call.out, axes)


RULES: Rules = {"index": index, "index_select": index_select, "gather": gather}
