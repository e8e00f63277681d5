"""Gives rules to operators that move entries: permute, concatenate, split, select, pad."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from harness.groups.ids import Ids
from harness.groups.operators.call import Call, Rules
from harness.groups.tracing.labels import Axis, without_constant
from harness.groups.tracing.trace import Trace

POSITION = "it is a position, which is picked by number"
SIDE = "it lies beside what has a fixed size"


def permute(trace: Trace, call: Call) -> None:
    source = call["self"]
    order = [dim % source.dim() for dim in _order(call)]
    axes = [axis.moved(order.index(dim) for dim in axis.dims) for axis in trace.labels.axes(source)]
    trace.labels.put(call.out, axes)


def _order(call: Call) -> Sequence[int]:
    if "dims" in call.arguments:
        return call["dims"]  # type: ignore[no-any-return]
    order = list(range(call["self"].dim()))
    if "dim0" in call.arguments:
        one, other = call["dim0"], call["dim1"]
        order[one], order[other] = order[other], order[one]
        return order
    return order[::-1]  # t()


def expand(trace: Trace, call: Call) -> None:
    source, before = call["self"], call.out.dim() - call["self"].dim()
    axes = []
    for axis in trace.labels.axes(source):
        if axis.ids.size == 1 and call.out.shape[axis.dims[0] + before] > 1:
            trace.pin([axis.ids], "it is repeated for many units")
        else:
            axes.append(axis.moved(dim + before for dim in axis.dims))
    trace.labels.put(call.out, axes)


def repeat(trace: Trace, call: Call) -> None:
    source, repeats = call["self"], call["repeats"]
    before, axes = call.out.dim() - source.dim(), []
    for dim, ids in trace.labels.single(source).items():
        if source.shape[dim] == 1 and call.out.shape[dim + before] > 1:
            trace.pin([ids], "it is repeated for many units")
        else:
            axes.append(Axis((dim + before,), np.tile(ids, repeats[dim + before])))
    trace.labels.put(call.out, axes)


def take(
    trace: Trace,
    source: Tensor,
    out: Tensor,
    dim: int,
    pick: Callable[[Ids, int], Ids],
    drops: bool = False,
) -> None:
    """Gives `out` the axes of `source` where `pick(ids, position)` cuts those along `dim`.

    drops: the dimension is not in `out`.
    """
    axes = []
    for axis in trace.labels.axes(source):
        ids = pick(axis.ids, axis.dims.index(dim)) if dim in axis.dims else axis.ids
        left = [d - (drops and d > dim) for d in axis.dims if not (drops and d == dim)]
        if left:
            axes.append(without_constant(left, ids))
    trace.labels.put(out, axes)


def _entry(number: int, ids: Ids, at: int) -> Ids:
    taken: Ids = np.take(ids, number, at)
    return taken


def _part(part: slice, ids: Ids, at: int) -> Ids:
    return ids[(slice(None),) * at + (part,)]


def _pin_alone(trace: Trace, source: Tensor, dim: int) -> None:
    alone = [axis.ids for axis in trace.labels.axes(source) if axis.dims == (dim,)]
    trace.pin(alone, POSITION)


def select(trace: Trace, call: Call) -> None:
    source = call["self"]
    dim = call["dim"] % source.dim()
    _pin_alone(trace, source, dim)
    take(trace, source, call.out, dim, partial(_entry, call["index"]), drops=True)


def unbind(trace: Trace, call: Call) -> None:
    source = call["self"]
    dim = call["dim"] % source.dim()
    _pin_alone(trace, source, dim)
    for number, out in enumerate(call.outs):
        take(trace, source, out, dim, partial(_entry, number), drops=True)


def cut(trace: Trace, call: Call) -> None:
    """Follows a slice, whose start, end and step are numbers."""
    source = call["self"]
    dim = call["dim"] % source.dim()
    if call.out.shape == source.shape:
        return trace.labels.put(call.out, trace.labels.axes(source))
    start, end = call["start"] or 0, call["end"]
    part = slice(start, source.shape[dim] if end is None else end, call["step"])
    return take(trace, source, call.out, dim, partial(_part, part))


def split(trace: Trace, call: Call) -> None:
    """Makes the same position of equal parts one unit: what is halved must stay halved."""
    source, start = call["self"], 0
    dim = call["dim"] % source.dim()
    for out in call.outs:
        part = slice(start, start + out.shape[dim])
        take(trace, source, out, dim, partial(_part, part))
        start += out.shape[dim]
    sizes = {out.shape[dim] for out in call.outs}
    for axis in trace.labels.axes(source):
        if axis.dims == (dim,) and len(sizes) == 1 and len(call.outs) > 1:
            parts = axis.ids.reshape(len(call.outs), -1)
            trace.table.join(parts[:1], parts)


def narrow(trace: Trace, call: Call) -> None:
    part = slice(call["start"], call["start"] + call["length"])
    take(trace, call["self"], call.out, call["dim"] % call["self"].dim(), partial(_part, part))


def roll(trace: Trace, call: Call) -> None:
    source = call["self"]
    moved = {dim % source.dim() for dim in call["dims"]} or set(range(source.dim()))
    ids = trace.labels.single(source)
    trace.pin([found for dim, found in ids.items() if dim in moved], POSITION)
    trace.labels.put(call.out, [Axis((d,), found) for d, found in ids.items() if d not in moved])


def flip(trace: Trace, call: Call) -> None:
    turned = {dim % call["self"].dim() for dim in call["dims"]}
    ids = trace.labels.single(call["self"])
    axes = [Axis((d,), found[::-1] if d in turned else found) for d, found in ids.items()]
    trace.labels.put(call.out, axes)


def pad(trace: Trace, call: Call) -> None:
    source, padding, axes = call["self"], call.get("pad", "padding"), []
    for dim, ids in trace.labels.single(source).items():
        place = 2 * (source.dim() - 1 - dim)
        if any(padding[place : place + 2]):
            trace.pin([ids], SIDE)
        else:
            axes.append(Axis((dim,), ids))
    trace.labels.put(call.out, axes)


def same(trace: Trace, call: Call) -> None:
    if call.out.shape == call["self"].shape:
        trace.labels.put(call.out, trace.labels.axes(call["self"]))
    else:
        trace.refuse(call.name, call.tensors(), call.outs)


RULES: Rules = {
    **dict.fromkeys(("permute", "transpose", "t"), permute),
    "expand": expand,
    "repeat": repeat,
    "select": select,
    "unbind": unbind,
    "slice": cut,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unsafe_split"), split),
    "narrow": narrow,
    "roll": roll,
    "flip": flip,
    "constant_pad_nd": pad,
    "as_strided": same,
}
