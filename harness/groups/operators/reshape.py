"""Gives rules to operators that give a tensor another shape with the same entries in order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from harness.groups.operators.call import Call, Rules
from harness.groups.tracing.labels import Axis, without_constant
from harness.groups.tracing.trace import Trace


@dataclass(frozen=True)
class Block:
    """Holds dimensions before and after a reshaping that have the same entries in all.

    (2, 12, 5) as (2, 3, 4, 5) has the blocks [0] -> [0], [1] -> [1, 2] and [2] -> [3].
    """

    old: tuple[int, ...]
    new: tuple[int, ...]


def blocks(old: tuple[int, ...], new: tuple[int, ...]) -> Iterator[Block]:
    """Yields the smallest blocks, in order."""
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = i, j
        before = after = 1
        if i < len(old):
            before, i = before * old[i], i + 1
        if j < len(new):
            after, j = after * new[j], j + 1
        while before != after:
            if before < after:
                before, i = before * old[i], i + 1
            else:
                after, j = after * new[j], j + 1
        yield Block(tuple(range(first, i)), tuple(range(second, j)))


def reshape(trace: Trace, call: Call) -> None:
    source, out = call["self"], call.out
    if source is out:  # in place: what shape it had is not known any more
        return trace.refuse(call.name, [source], [out])
    if not source.numel():
        return trace.labels.put(out, [])
    found = list(blocks(tuple(source.shape), tuple(out.shape)))
    several = [axis for axis in trace.labels.axes(source) if axis.ids.size > 1]
    if any(_axis_through(found, axis, source, out) is None for axis in several):
        trace.labels.split_joint(source)
    axes, taken = [], set[int]()
    for axis in trace.labels.axes(source):
        made = _axis_through(found, axis, source, out)
        if made is None or taken & set(made.dims):
            # Two axes become one dimension, whose entries are pairs of them.
            trace.pin([axis.ids], "it is one of two kinds of units in one dimension")
            continue
        _keep_parts_equal(trace, axis, made)
        axes.append(made)
        taken |= set(made.dims)
    return trace.labels.put(out, axes)


def _axis_through(found: list[Block], axis: Axis, source: Tensor, out: Tensor) -> Axis | None:
    """Returns the axis after the reshaping, or None if it must be split for that."""
    large = [dim for dim in axis.dims if source.shape[dim] > 1]
    touched = [block for block in found if set(large) & set(block.old)]
    if len(touched) > 1:
        return _over_blocks(touched, axis, source, out)
    if not touched:
        stays = out.shape[axis.dims[0] : axis.dims[0] + 1] == (1,) and axis.ids.size == 1
        return axis.moved(axis.dims[:1]) if stays else None
    block = touched[0]
    order = sorted(large)
    ids = axis.ids.reshape([source.shape[dim] for dim in axis.dims if dim in large])
    ids = np.transpose(ids, [large.index(dim) for dim in order])
    shape = [source.shape[dim] if dim in order else 1 for dim in block.old]
    full = np.broadcast_to(ids.reshape(shape), [source.shape[dim] for dim in block.old])
    new = [dim for dim in block.new if out.shape[dim] > 1]
    return without_constant(new, full.reshape([out.shape[dim] for dim in new]))


def _over_blocks(touched: list[Block], axis: Axis, source: Tensor, out: Tensor) -> Axis | None:
    """Returns an axis over several blocks, in each of which it has the only large dimension."""
    if any(sum(source.shape[dim] > 1 for dim in block.old) > 1 for block in touched):
        return None
    dims: list[int] = []
    for dim in axis.dims:
        block = next((block for block in touched if dim in block.old), None)
        dims += [d for d in block.new if out.shape[d] > 1] if block else []
    return without_constant(dims, axis.ids.reshape([out.shape[dim] for dim in dims]))


def _keep_parts_equal(trace: Trace, before: Axis, after: Axis) -> None:
    """Joins the same position of all parts where a shuffle interleaves them."""
    if list(before.dims) != sorted(before.dims) and len(after.dims) < len(before.dims):
        trace.table.join(before.ids[:1], before.ids)


RESHAPING = (
    "_reshape_alias", "_unsafe_view", "flatten", "reshape", "squeeze", "unflatten", "unsqueeze",
    "view", "view_copy",
)  # fmt: skip
RULES: Rules = {**dict.fromkeys(RESHAPING, reshape)}
