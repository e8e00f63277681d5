"""Reads batches in worker processes, in the order in which they are requested."""

import signal
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.shared.loading import Machinery, close_later, loading_now
from harness.data.shared.reading import Failure, Reader, Request, kept_streams


class SamplePool:
    """Reads batches of all parts of one data set, for one rank.

    The worker processes stay from epoch to epoch, and end with the run (`loading`) or with the
    process that started them. A single batch, and a second series beside one that is being read,
    are read by the rank itself: what is read is the same.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._processes = _Processes()

    def read(
        self, requests: Iterable[Request], device: torch.device
    ) -> Iterator[tuple[Any, Tensor]]:
        """Yields a batch per request, as it was read: on the CPU, pinned where a GPU takes it.

        Raises:
            ValueError: a sample cannot be read; it is named.
        """
        source = iter(requests)
        first = list(islice(source, 2))
        workers = loading_now().workers_on(device)
        if self._processes.busy or not workers or len(first) < 2:
            for request in chain(first, source):
                with kept_streams():
                    batch = self._reader.read(request)
                yield _checked(batch)
            return
        self._processes.busy = True
        try:
            self._processes.requests.source = chain(first, source)
            for batch in self._started(workers, device):
                yield _checked(batch)
        finally:
            self._processes.busy = False

    def close(self) -> None:
        """Ends the worker processes."""
        iterator = getattr(self._processes.loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()
        self._processes.loader, self._processes.busy = None, False

    def _started(self, workers: int, device: torch.device) -> DataLoader[Any]:
        if self._processes.loader is None:
            self._processes.loader = DataLoader(
                _Batches(self._reader),
                batch_sampler=cast(Any, self._processes.requests),
                num_workers=workers,
                collate_fn=_unchanged,
                pin_memory=device.type == "cuda",
                worker_init_fn=_begin_worker,
                # Otherwise it draws from the stream of the training.
                generator=torch.Generator(),
                persistent_workers=True,
            )
            close_later(self)
        return self._processes.loader


class _Processes(Machinery):
    """Holds the worker processes, and what they are asked for."""

    def __init__(self) -> None:
        self.requests = _Requests()
        self.loader: DataLoader[Any] | None = None
        self.busy = False


class _Requests:
    """Yields the requests of the series that is being read."""

    source: Iterator[Request]

    def __iter__(self) -> Iterator[Request]:
        return self.source


class _Batches(Dataset[Any]):
    """Reads whole batches, as a DataLoader calls a data set."""

    def __init__(self, reader: Reader):
        self._reader = reader

    def __getitems__(self, request: Request) -> Any:
        return self._reader.read(request)

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError


def _unchanged(batch: Any) -> Any:
    return batch


def _begin_worker(number: int) -> None:
    # The rank stops at a signal, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _checked(batch: "tuple[Any, Tensor] | Failure") -> tuple[Any, Tensor]:
    if isinstance(batch, Failure):
        raise ValueError(batch.message)
    return batch


def samples_of(pool: SamplePool, part: str) -> Any:
    return pool._reader.parts[part]
