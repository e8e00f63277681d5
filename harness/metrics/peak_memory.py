"""Measures how much memory a forward pass needs at once."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from harness.vocabulary.nested import iter_tensors


def peak_bytes(step: Callable[[], object], device: torch.device, given: Collection[Tensor]) -> int:
    """Returns the bytes of the given tensors, and of the most that a step holds beside them.

    On a GPU that is what torch's allocator hands out, scratch memory of operators included. On the
    CPU it is the largest sum of results of operators that are alive at once: what an operator needs
    inside itself is not seen there.

    step: runs once, operator by operator. given: the tensors of the model and its inputs.
    """
    own = bytes_of(given)
    if device.type != "cuda":
        live = LiveResults(given)
        with live:
            step()
        return own + live.peak
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    peak: int = torch.cuda.max_memory_allocated(device)
    return own + peak - before


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of the tensors' storages, each counted once.

    >>> pair = torch.zeros(6)
    >>> bytes_of([pair, pair[:2], torch.zeros(1)])
    28
    """
    return sum({_key(each): each.untyped_storage().nbytes() for each in tensors}.values())


class LiveResults(TorchDispatchMode):
    """Adds up the storages that operators make inside the context, and keeps the largest sum.

    given: tensors whose storages do not count.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The references hold the addresses, which no other storage can take meanwhile.
        self._given = {_key(each): StorageWeakRef(each.untyped_storage()) for each in given}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        self._alive = {key: each for key, each in self._alive.items() if not each[0].expired()}
        for tensor in iter_tensors(results):
            storage, key = tensor.untyped_storage(), _key(tensor)
            if key not in self._given:
                self._alive[key] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return results


def _key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key
