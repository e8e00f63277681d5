"""Keeps for each tensor of a forward pass the ids that its dimensions stand for."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.groups.ids import Ids, IdTable


@dataclass(frozen=True)
class Axis:
    """Holds the ids along one or several dimensions of a tensor.

    dims: the dimensions, outermost first in the order of the units, whatever their order in the
        tensor is now. ids: one entry per index of these dimensions, in that order.
    """

    dims: tuple[int, ...]
    ids: Ids

    def moved(self, dims: Iterable[int]) -> "Axis":
        return Axis(tuple(dims), self.ids)


def without_constant(dims: Iterable[int], ids: Ids) -> Axis:
    """Returns the axis without dimensions along which its ids are all equal, but for one."""
    left, position = list(dims), 0
    while len(left) > 1 and position < len(left):
        first = np.take(ids, [0], position)
        if (ids == first).all():
            ids = first.squeeze(position)
            left.pop(position)
        else:
            position += 1
    return Axis(tuple(left), ids)


class Labels:
    """Maps tensors to their axes. A dimension in no axis has no ids: samples, time, pictures."""

    def __init__(self, table: IdTable):
        self.table = table
        self._axes: dict[int, list[Axis]] = {}
        # Kept alive, or Python would give their id() to other tensors.
        self._alive: list[Tensor] = []
        self._parameters = {_storage(table.tensors[name]) for name in table.parameters}
        # Storages that are 0 where the parameters of a removed unit are.
        self._zeros = set(self._parameters)
        for name, tensor in table.tensors.items():
            if tensor.dim():
                self.put(tensor, [Axis((d,), ids) for d, ids in enumerate(table.of(name))])

    def axes(self, tensor: object) -> list[Axis]:
        return self._axes.get(id(tensor), [])

    def put(self, tensor: Tensor, axes: Iterable[Axis]) -> None:
        self._alive.append(tensor)
        kept = [axis for axis in axes if axis.ids.size]
        if kept:
            self._axes[id(tensor)] = kept
        else:
            self._axes.pop(id(tensor), None)

    def keep_alive(self, tensors: Iterable[Tensor]) -> None:
        self._alive.extend(tensors)

    def is_zero(self, tensor: object) -> bool:
        """True if the tensor is 0 wherever the parameters of one of its units are 0."""
        return isinstance(tensor, Tensor) and _storage(tensor) in self._zeros

    def is_parameter(self, tensor: Tensor) -> bool:
        """True if the tensor is a parameter or a view of one."""
        return _storage(tensor) in self._parameters

    def mark_zero(self, outs: Iterable[Tensor], inputs: Iterable[Tensor], zero: bool) -> None:
        """Marks results of an operator; what is written into a tensor does not make the rest 0."""
        known = {_storage(tensor) for tensor in inputs}
        for out in outs:
            if not zero:
                self._zeros.discard(_storage(out))
            elif _storage(out) not in known:
                self._zeros.add(_storage(out))

    def single(self, tensor: object) -> dict[int, Ids]:
        """Returns dimension -> ids, after `split_joint`."""
        if not isinstance(tensor, Tensor):
            return {}
        self.split_joint(tensor)
        return {axis.dims[0]: axis.ids for axis in self.axes(tensor)}

    def split_joint(self, tensor: Tensor, mixed: Collection[int] = ()) -> None:
        """Gives each axis of several dimensions to its outermost one, whose index is the unit.

        mixed: dimensions that an operator sums over, which are taken only if there is no other.
        """
        if not self.axes(tensor):
            return
        axes = []
        for axis in self.axes(tensor):
            if len(axis.dims) == 1:
                axes.append(axis)
                continue
            dim = next((dim for dim in axis.dims if dim not in mixed), axis.dims[0])
            ids = np.moveaxis(axis.ids, axis.dims.index(dim), 0)
            rows = ids.reshape(len(ids), -1)
            self.table.join(rows[:, :1], rows)
            axes.append(Axis((dim,), rows[:, 0]))
        self._axes[id(tensor)] = axes

    def ids(self, tensor: object) -> list[Ids]:
        return [axis.ids for axis in self.axes(tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)
