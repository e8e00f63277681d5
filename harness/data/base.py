"""Defines what a data set is: three splits, and batches by sample index."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from harness.vocabulary.checks import check
from harness.vocabulary.given.batches import check_batch
from harness.vocabulary.given.inputs import (
    Inputs,
    SampleShape,
    describe_inputs,
    input_tensors,
    map_inputs,
    select_samples,
    shape_of_sample,
)
from harness.vocabulary.given.numbers import plain_number
from harness.vocabulary.tensors import Batch

CHUNK = 1024  # samples that are read at a time
IDS = (torch.int32, torch.int64)  # dtypes of inputs that an embedding looks up


@dataclass(frozen=True, eq=False)
class Split:
    """Holds samples as one tensor, or as several by the names of the model's arguments.

    Another kind of split needs the three methods alone: `__len__`, `batches` and `to`. If it has
    `mean` and `std`, a number per channel, its inputs are (pixels / 255 - mean) / std. It may have
    `for_epoch`.
    """

    inputs: Inputs  # (samples, *shape)
    labels: Tensor  # int64: (samples,), or (samples, positions); or real-valued targets

    def __post_init__(self) -> None:
        check_batch("inputs and labels of a Split", (self.inputs, self.labels))
        given = input_tensors(self.inputs)
        if not self.labels.ndim or not all(tensor.ndim for tensor in given):
            raise ValueError("inputs and labels of a Split must be (samples, ...), got one number")
        real = self.labels.is_floating_point()
        sizes = {len(tensor) for tensor in (*given, self.labels)}
        if len(sizes) > 1 or not (real or self.labels.dtype == torch.int64):
            raise ValueError(
                "labels must be int64, one per sample, or real-valued targets, got "
                f"{self.labels.dtype} for {len(self.labels)} labels and inputs "
                f"{describe_inputs(self.inputs)}; convert them first"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tensor(self) -> Tensor:
        """Returns the inputs of a split that holds them as one tensor."""
        assert isinstance(self.inputs, Tensor)
        return self.inputs

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        """Yields one batch per tensor of sample indices, in that order, on the split's device.

        On more ranks than samples a tensor may be empty.
        """
        for chosen in indices:
            local = chosen.to(self.labels.device)
            yield select_samples(self.inputs, local), self.labels.index_select(0, local)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Split":
        """Returns the same samples on `device`.

        Ids (int32, int64) and classes stay integers; all other inputs and targets become `dtype`.
        """

        def moved(inputs: Tensor) -> Tensor:
            return inputs.to(device, inputs.dtype if inputs.dtype in IDS else dtype)

        labels_dtype = dtype if self.labels.is_floating_point() else self.labels.dtype
        return Split(map_inputs(moved, self.inputs), self.labels.to(device, labels_dtype))


def first_inputs(split: Split, count: int) -> Inputs:
    """Returns the inputs of the first `count` samples, or of all: (samples, *shape)."""
    count, source = min(count, len(split)), f"batches of {type(split).__name__}"
    batch = next(iter(split.batches([torch.arange(count)])), None)
    inputs, labels = check_batch(source, batch)
    if any(tensor.shape[:1] != (count,) for tensor in (*input_tensors(inputs), labels)):
        raise ValueError(
            f"{source} must hold a row per sample, got inputs {describe_inputs(inputs)} and labels "
            f"{tuple(labels.shape)} for {count} samples"
        )
    return inputs


def for_epoch(split: Split, seed: int) -> Split:
    """Returns the split as the training loop reads it in an epoch.

    A split whose samples are transformed one by one has a method `for_epoch` of its own, which
    draws the transforms from `seed` and the number of a sample.
    """
    own = getattr(split, "for_epoch", None)
    return own(seed) if own else split


def labels_of(split: Split) -> Tensor:
    """Returns all labels in the order of samples, on the CPU.

    A split without a tensor `labels` is read for it, inputs included.
    """
    labels = getattr(split, "labels", None)
    if isinstance(labels, Tensor):
        return labels.cpu()
    chunks = torch.arange(len(split)).split(CHUNK)
    return torch.cat([labels.cpu() for _, labels in split.batches(chunks)])


@dataclass(frozen=True, eq=False)
class Splits:
    train: Split
    validation: Split
    test: Split
    classes: int

    def __post_init__(self) -> None:
        classes = plain_number(self.classes)
        check("classes", classes, "a whole number of at least 1")
        object.__setattr__(self, "classes", classes)

    @property
    def shape(self) -> SampleShape:
        """Returns the shape of one sample, without the batch; by name where inputs have names."""
        return shape_of_sample(first_inputs(self.train, 1))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Splits":
        return replace(
            self,
            train=self.train.to(device, dtype),
            validation=self.validation.to(device, dtype),
            test=self.test.to(device, dtype),
        )


class Data(Protocol):
    """Loads three splits; a run is named by their content, so equal bytes are one run.

    A data set in files may name them, so that their bytes are hashed, and only once:
    `files() -> Iterable[Path]` names every file that `load` reads; names count below `root`, if
    its config has such a key, else below the deepest folder with all of them. Without building the
    set the digest is known only if its config names the folder, or one above it. Where `files`
    names none, the set is computed, and nothing but its config and code decides it: the tensors of
    all splits are hashed, once. Of a set without `files` they are hashed at each start, as it is
    unknown what it reads; `files` that returns None says the same. See
    harness/launch/digests/data.py.

    It may declare `published_as`, as models do (harness/models/base.py). `fetch() -> Path` of a set
    downloads its files and returns their folder; `pruning-harness data prepare NAME` calls it.
    """

    def load(self) -> Splits:
        """Returns the same splits at every call, whatever the run's seed, on the CPU.

        Validation data chooses, test data reports once.

        Raises:
            ValueError: the files are missing or not what they should be.
        """
