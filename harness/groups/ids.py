"""Numbers every index of every dimension of a model's tensors, and joins what goes together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.groups.group import Attention

Ids = NDArray[np.int64]
KINDS: tuple[Attention, ...] = ("tied", "head", "width", "")


@dataclass(frozen=True)
class Slot:
    """Holds one dimension of a parameter or buffer: its ids are start, ..., start + size - 1."""

    name: str
    dim: int
    start: int
    size: int


@dataclass(frozen=True)
class Product:
    """Holds the sizes of a product of two activations, and the ids along its dimensions.

    It multiplies and adds as often as the product of its sizes. module: that computes it.
    """

    module: str
    sizes: tuple[int, ...]
    ids: tuple[Ids | None, ...]


class IdTable:
    """Keeps ids, which of them must be kept or removed together, and what is known of them.

    An id stands for one index of one dimension of a parameter or floating-point buffer. A
    parameter that has several names is numbered once, under its first name.
    """

    def __init__(self, model: nn.Module):
        self.slots: list[Slot] = []
        self.count = 0
        self.tensors: dict[str, Tensor] = dict(model.named_parameters())
        self.parameters = tuple(self.tensors)
        buffers = {n: b for n, b in model.named_buffers() if b.is_floating_point()}
        self.tensors.update(buffers)
        for name, tensor in self.tensors.items():
            for dim, size in enumerate(tensor.shape):
                self.slots.append(Slot(name, dim, self.count, size))
                self.count += size
        self._pairs: list[tuple[Ids, Ids]] = []
        self._pins: list[tuple[Ids, str]] = []
        self._mixes: list[tuple[Ids, str]] = []
        self._attended: list[tuple[Ids, Attention]] = []
        self.products: list[Product] = []
        self._made: list[Ids] = []
        self._read: list[Ids] = []

    def of(self, name: str) -> Iterator[Ids]:
        """Yields the ids of each dimension of a tensor."""
        for slot in self.slots:
            if slot.name == name:
                yield np.arange(slot.start, slot.start + slot.size)

    def join(self, one: Ids, other: Ids) -> None:
        """Joins ids pairwise; the arrays are broadcast to one shape."""
        one, other = np.broadcast_arrays(one, other)
        self._pairs.append((one.ravel(), other.ravel()))

    def pin(self, ids: Ids, why: str) -> None:
        """Marks ids as not removable; the first reason counts."""
        self._pins.append((ids.ravel(), why))

    def mix(self, ids: Ids, module: str) -> None:
        """Marks ids over which a module takes statistics."""
        self._mixes.append((ids.ravel(), module))

    def attend(self, ids: Ids, attention: Attention) -> None:
        """Marks ids by what a product of activations does with them."""
        self._attended.append((ids.ravel(), attention))

    def make(self, ids: Ids) -> None:
        """Marks ids of units that a layer computes."""
        self._made.append(ids.ravel())

    def read(self, ids: Ids) -> None:
        """Marks ids that a product sums over."""
        self._read.append(ids.ravel())

    def made(self) -> NDArray[np.bool_]:
        return self._flags(self._made)

    def contracted(self) -> NDArray[np.bool_]:
        return self._flags(self._read)

    def components(self) -> Ids:
        """Returns for each id the smallest id that it is joined with, directly or not."""
        labels = np.arange(self.count)
        if not self._pairs:
            return labels
        one, other = (np.concatenate(side) for side in zip(*self._pairs, strict=True))
        while True:
            # Each component's label sinks to the smallest among its neighbours, then jumps.
            smallest = np.minimum(labels[one], labels[other])
            sunk = labels.copy()
            for ends in (labels[one], labels[other], one, other):
                np.minimum.at(sunk, ends, smallest)
            while not np.array_equal(jumped := sunk[sunk], sunk):
                sunk = jumped
            if np.array_equal(sunk, labels):
                return labels
            labels = sunk

    def pins(self, components: Ids) -> dict[int, str]:
        """Returns component -> why it cannot be removed."""
        return {int(c): w for ids, w in reversed(self._pins) for c in np.unique(components[ids])}

    def unread(self, components: Ids) -> Ids:
        """Returns components that a layer computes and no product sums over."""
        unread: Ids = np.setdiff1d(components[self.made()], components[self.contracted()])
        return unread

    def mixes(self, components: Ids) -> dict[int, tuple[str, ...]]:
        """Returns component -> modules that take statistics over it."""
        found: dict[int, dict[str, None]] = {}
        for ids, module in self._mixes:
            for component in np.unique(components[ids]):
                found.setdefault(int(component), {})[module] = None
        return {component: tuple(modules) for component, modules in found.items()}

    def attended(self, components: Ids) -> dict[int, Attention]:
        """Returns component -> what products of activations do with it: the first of KINDS."""
        marks = sorted(self._attended, key=lambda mark: KINDS.index(mark[1]), reverse=True)
        return {int(c): kind for ids, kind in marks for c in np.unique(components[ids])}

    def _flags(self, marked: list[Ids]) -> NDArray[np.bool_]:
        flags = np.zeros(self.count, dtype=np.bool_)
        for ids in marked:
            flags[ids] = True
        return flags
