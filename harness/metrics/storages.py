"""Tracks which entries of which parameters a tensor holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

Ids = Tensor  # int64; the entries of all parameters are numbered from 1, and 0 is none of them


@dataclass(frozen=True)
class Contents:
    """Holds which parameters a storage contains.

    names: of the parameters. kind: "weight" (their entries, moved or multiplied by constants, so
    that a pruned one is 0 here too), "product" (entries times activations, not yet summed) or
    "derived" (computed from them otherwise: a pruned one need not be 0). by: the operator that
    made a product or something derived.
    whole: (offset, entries) of a block of the storage -> the parameter of which every
    entry is there once. ids: makes the number of the entry at each position of the storage.
    """

    names: frozenset[str]
    kind: str
    by: str = ""
    itemsize: int = 0
    whole: Mapping[tuple[int, int], str] = field(default_factory=dict)
    ids: Callable[[torch.device], Ids] | None = None


class Storages:
    """Tracks the parameters of a model through the tensors of one forward pass.

    Views need no rule: they share their storage. A storage is known by its address, which no
    other one can take while a weak reference to it is held.
    """

    def __init__(self, parameters: Mapping[str, Tensor]):
        self.parameters = parameters
        self.first_entry: dict[str, int] = {}  # number of a parameter's first entry
        self._held: dict[int, Contents] = {}
        self._references: dict[int, StorageWeakRef] = {}
        number = 1
        for name, parameter in parameters.items():
            self.first_entry[name] = number
            number += parameter.numel()
        sharing: dict[int, list[str]] = {}
        for name, parameter in parameters.items():
            sharing.setdefault(self.key(parameter), []).append(name)
        for key, names in sharing.items():
            self._held[key] = self._of_parameters(names)

    def key(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        if key not in self._references:
            self._references[key] = StorageWeakRef(storage)
        return key

    def contents(self, tensor: Tensor) -> Contents | None:
        if tensor.layout is not torch.strided:
            return None
        contents = self._held.get(self.key(tensor))
        if contents and contents.itemsize not in (0, tensor.element_size()):
            # Its memory read as another dtype: as complex numbers, as bits.
            return replace(contents, kind="derived", by=f"view as {tensor.dtype}")
        return contents

    def set_contents(self, tensor: Tensor, contents: Contents) -> None:
        self._held[self.key(tensor)] = contents

    def whole_parameter(self, tensor: Tensor) -> str | None:
        """Returns the parameter of which the tensor holds every entry once, or None."""
        contents = self.contents(tensor)
        if contents is None or contents.kind == "derived" or not _is_dense(tensor):
            return None
        return contents.whole.get((_offset(tensor), tensor.numel()))

    def entry_numbers(self, tensor: Tensor) -> Callable[[], Ids]:
        """Returns a function that makes the number of the entry at each position of the tensor."""
        contents, device = self.contents(tensor), tensor.device
        shape, stride, offset = tensor.shape, tensor.stride(), _offset(tensor)
        make = None if contents is None else contents.ids
        if make is None:
            return lambda: torch.zeros(shape, dtype=torch.int64, device=device)
        return lambda: make(device).as_strided(shape, stride, offset)

    def relocated(
        self, out: Tensor, contents: Contents, whole: str | None, ids: Callable[[], Ids]
    ) -> Contents:
        """Returns `contents` as they are in `out`, whose positions hold the entries of `ids`.

        whole: the parameter whose every entry it holds once, if it is one.
        """
        shape, stride, offset = out.shape, out.stride(), _offset(out)
        size = out.untyped_storage().nbytes() // out.element_size()

        def laid_out(device: torch.device) -> Ids:
            flat = torch.zeros(size, dtype=torch.int64, device=device)
            flat.as_strided(shape, stride, offset).copy_(ids())
            return flat

        kept = whole is not None and _is_dense(out) and self._size(whole) == out.numel()
        block = {(offset, out.numel()): whole} if kept and whole else {}
        return Contents(
            contents.names, contents.kind, contents.by, out.element_size(), block, laid_out
        )

    def names(self, tensor: Tensor) -> frozenset[str]:
        contents = self.contents(tensor)
        return frozenset() if contents is None else contents.names

    def entry_counts(self, ids: Ids) -> dict[str, Tensor]:
        """Counts how often each entry occurs, in the shape of its parameter."""
        by_name = {}
        for name, first_entry in self.first_entry.items():
            size = self._size(name)
            own = ids[(ids >= first_entry) & (ids < first_entry + size)] - first_entry
            if own.numel():
                counts = torch.bincount(own.flatten(), minlength=size).cpu()
                by_name[name] = counts.view(self.parameters[name].shape)
        return by_name

    def _size(self, name: str) -> int:
        return self.parameters[name].numel()

    def _of_parameters(self, names: list[str]) -> Contents:
        parameters = [self.parameters[name] for name in names]
        itemsize = parameters[0].element_size()
        size = parameters[0].untyped_storage().nbytes() // itemsize

        def ids(device: torch.device) -> Ids:
            flat = torch.zeros(size, dtype=torch.int64, device=device)
            for name, parameter in zip(names, parameters, strict=True):
                numbers = torch.arange(parameter.numel(), device=device) + self.first_entry[name]
                view = flat.as_strided(parameter.shape, parameter.stride(), _offset(parameter))
                view.copy_(numbers.view(parameter.shape))
            return flat

        dense = [(n, p) for n, p in zip(names, parameters, strict=True) if _is_dense(p)]
        whole = {
            (_offset(parameter), parameter.numel()): name for name, parameter in reversed(dense)
        }
        return Contents(frozenset(names), "weight", "", itemsize, whole, ids)


def _offset(tensor: Tensor) -> int:
    return int(tensor.storage_offset())


def _is_dense(tensor: Tensor) -> bool:
    """True if its entries fill one block of memory, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
