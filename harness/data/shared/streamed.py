"""Reads the samples of a split when a batch needs them, or once, where they fit into memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.data.base import CHUNK, IDS, Split, Splits
from harness.data.shared.loading import loading_now
from harness.data.shared.pixels import Pixels, Scale, moments, scaled
from harness.data.shared.reading import Reader, Request, Samples
from harness.data.shared.sample_pool import SamplePool, samples_of
from harness.vocabulary.tensors import Batch

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Streamed:
    """Holds a part of a data set whose samples are read when a batch needs them.

    labels: of all samples, on the CPU; None if they are not known without reading.
    scale: mean and std per channel; a batch of uint8 is (pixels / 255 - mean) / std. None leaves
        uint8 unscaled.
    transforms: True if the training loop's samples are transformed, each by itself.
    seed: of the epoch, for these transforms. None outside the training loop.
    """

    pool: SamplePool
    part: str
    samples: int
    labels: Tensor | None = None
    scale: Scale | None = None
    transforms: bool = False
    seed: int | None = None
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return self.samples

    @property
    def mean(self) -> tuple[float, ...] | None:
        return self.scale and self.scale[0]

    @property
    def std(self) -> tuple[float, ...] | None:
        return self.scale and self.scale[1]

    def for_epoch(self, seed: int) -> "Streamed":
        """Returns the split with transforms, drawn from this seed and the number of a sample."""
        return replace(self, seed=seed) if self.transforms else self

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        """Yields one batch per tensor of sample indices, in that order, on the split's device."""
        scale = self.scale and moments(self.scale, self.device, self.dtype)
        for inputs, labels in self._read(indices):
            yield self._finished(inputs, scale), self._moved(labels)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Streamed | Split":
        """Returns the same samples on `device`: held there if they fit, else streamed to it."""
        device = torch.device(device)
        moved = replace(self, device=device, dtype=dtype)
        return moved if self.transforms else held(moved)

    def size(self) -> int:
        """Returns the bytes of all inputs as they are read, by those of the first sample."""
        ((inputs, _),) = self._read([torch.tensor([0])])
        parts = inputs.values() if isinstance(inputs, Mapping) else [inputs]
        return self.samples * sum(int(part.nbytes) for part in parts)

    def read_whole(self) -> Split:
        """Returns all samples in memory, on the split's device."""
        samples = samples_of(self.pool, self.part)
        if isinstance(samples, ArraySamples):
            inputs, labels = samples.inputs, samples.labels
        else:
            whole = list(self._read(torch.arange(self.samples).split(CHUNK)))
            inputs = joined([inputs for inputs, _ in whole])
            labels = torch.cat([labels for _, labels in whole])
        is_tensor = isinstance(inputs, Tensor)
        if self.scale is not None and is_tensor and inputs.dtype == torch.uint8:
            return Pixels(inputs, labels, *self.scale).to(self.device, self.dtype)
        return Split(inputs, labels).to(self.device, self.dtype)

    def _read(self, indices: Iterable[Tensor]) -> Iterator[tuple[Any, Tensor]]:
        requests = (Request(self.part, chosen.tolist(), self.seed) for chosen in indices)
        return self.pool.read(requests, self.device)

    def _finished(self, inputs: Any, scale: tuple[Tensor, Tensor] | None) -> Any:
        if isinstance(inputs, Mapping):
            return {key: self._moved(value) for key, value in inputs.items()}
        if scale is not None and inputs.dtype == torch.uint8:
            return scaled(inputs.to(self.device, non_blocking=True), *scale)
        return self._moved(inputs)

    def _moved(self, values: Tensor) -> Tensor:
        dtype = values.dtype if values.dtype in IDS else self.dtype
        return values.to(self.device, dtype, non_blocking=True)


@dataclass(frozen=True)
class ArraySamples:
    """Reads samples of two tensors, one by one. Labels are int64 or real numbers."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.labels[index]

    def chosen(self, indices: Tensor) -> "ArraySamples":
        return ArraySamples(self.inputs[indices], self.labels[indices])


def held(split: Streamed) -> Streamed | Split:
    """Returns the split in the memory of its device, if it is to be held there."""
    fits = loading_now().holds(split.size(), split.device)
    return split.read_whole() if fits else split


def joined(parts: Sequence[Any]) -> Any:
    """Returns the batches of inputs as one."""
    if isinstance(parts[0], Mapping):
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return torch.cat(parts)  # type: ignore[arg-type]


def streamed_splits(
    parts: Mapping[str, Samples],
    classes: int,
    labels: Mapping[str, Tensor] | None = None,
    scale: tuple[Sequence[float], Sequence[float]] | None = None,
    transform: Callable[[Any], Any] | None = None,
) -> Splits:
    """Returns splits over map-style data sets, which share their worker processes.

    Args:
        parts: train, validation and test -> samples.
        classes: number of classes.
        labels: of each part, if they are known.
        scale: mean and std per channel of uint8 inputs.
        transform: of the inputs of a training sample, in the training loop alone.
    """
    pool = SamplePool(Reader(parts, transform))
    moments = None if scale is None else (tuple(scale[0]), tuple(scale[1]))
    splits = {
        part: Streamed(
            pool, part, len(samples), (labels or {}).get(part), moments,
            transforms=transform is not None and part == "train",
        )
        for part, samples in parts.items()
    }  # fmt: skip
    return Splits(**splits, classes=classes)  # type: ignore[arg-type]
