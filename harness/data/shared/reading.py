"""Reads samples by number, each with random streams of its own, and stacks them to batches."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.vocabulary.given.batches import kind_of
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.seeds import derive


class Samples(Protocol):
    """Reads one sample by its number: (inputs, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Request(NamedTuple):
    """Asks for a batch.

    seed: of the epoch, whose transforms are drawn from it and from the sample's number. None reads
        the samples without the transforms of training.
    """

    part: str
    indices: list[int]
    seed: int | None


class Failure(NamedTuple):
    """Says in one line which sample could not be read."""

    message: str


class Reader:
    """Reads batches of the parts of a data set. It is what a worker process is given.

    transform: of the training loop, applied to the inputs of a sample before they are stacked.
    """

    def __init__(self, parts: Mapping[str, Samples], transform: Callable[[Any], Any] | None = None):
        self.parts, self.transform = dict(parts), transform

    def read(self, request: Request) -> "tuple[Any, Tensor] | Failure":
        samples = self.parts[request.part]
        read = []
        for index in request.indices or [0]:
            try:
                read.append(self._sample(samples, index, request.seed))
            except Exception as error:  # own data sets and decoders raise many kinds
                named = getattr(samples, "name_of", "sample {}".format)(index)
                remedy = getattr(samples, "remedy", "")
                problem = f"cannot be read: {first_line(error)}{remedy}"
                return Failure(f"data: {named} of {request.part} {problem}")
        try:
            inputs, labels = zip(*read, strict=True)
            count = len(request.indices)
            return stacked(inputs, count), as_labels(stacked(labels, count))
        except (ValueError, TypeError, RuntimeError) as error:
            numbers = ", ".join(map(str, request.indices[:4]))
            return Failure(
                f"data: samples {numbers}, ... of {request.part} do not make a batch: "
                f"{first_line(error)}; give all inputs one shape, by data.transforms for pictures"
            )

    def _sample(self, samples: Samples, index: int, seed: int | None) -> tuple[Any, Any]:
        if seed is None:
            return checked_sample(samples[index])
        seed_streams(derive(seed, "sample", index))
        # Pictures of files are transformed in the size of the file.
        read = getattr(samples, "whole", samples.__getitem__)
        inputs, label = checked_sample(read(index))
        return (self.transform(inputs) if self.transform else inputs), label


def checked_sample(sample: Any) -> tuple[Any, Any]:
    """Returns the sample as (inputs, label).

    Raises:
        ValueError: it is no pair.
    """
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise ValueError(f"a sample must be (inputs, label), got {kind_of(sample)}")
    return sample[0], sample[1]


def stacked(values: Sequence[Any], count: int) -> Any:
    """Returns the first `count` values as one tensor, or a dict of tensors as one dict."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: stacked([value[key] for value in values], count) for key in first}
    return torch.stack([as_tensor(value) for value in values])[:count]


def as_labels(labels: Tensor) -> Tensor:
    """Returns labels as int64, or as the real numbers that they are."""
    return labels if labels.is_floating_point() else labels.long()


def as_tensor(value: Any) -> Tensor:
    """Returns a tensor, array, number or picture as a tensor; pictures as uint8, channels first.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, Tensor):
        return value.as_subclass(Tensor)  # torchvision's own kinds of tensors
    if hasattr(value, "getbands"):  # a picture of PIL, which need not be installed
        pixels = torch.from_numpy(np.array(value))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
    if isinstance(value, bool | int | float | list | np.ndarray | np.generic):
        made = torch.as_tensor(value)
        return made.float() if made.dtype == torch.float64 and not hasattr(value, "dtype") else made
    raise ValueError(
        f"inputs and labels must be tensors, arrays, numbers or pictures, got {kind_of(value)}"
    )


def seed_streams(seed: int) -> None:
    """Seeds the streams of torch (on the CPU), NumPy and Python's random, which transforms use."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def kept_streams() -> Iterator[None]:
    """Restores these streams after the context."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
