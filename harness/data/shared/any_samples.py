"""Makes three splits of map-style data sets that bring one, two or three parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.data.base import Splits
from harness.data.shared.dividing import divided
from harness.data.shared.reading import Reader, Request, Samples, as_labels, as_tensor
from harness.data.shared.sample_pool import SamplePool
from harness.data.shared.splits import PARTS
from harness.data.shared.streamed import ArraySamples, streamed_splits
from harness.vocabulary.given.batches import kind_of

CHUNK = 256
Scale = tuple[Sequence[float], Sequence[float]]
OTHER_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}


@dataclass(frozen=True)
class Chosen:
    """Holds some samples of a data set."""

    samples: Samples
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.samples[int(self.indices[index])]

    def __getattr__(self, name: str) -> Any:
        """Returns what pictures have: `whole` and `name_of` by the number here, and `remedy`."""
        if name.startswith("_") or name not in ("whole", "name_of", "remedy"):
            raise AttributeError(name)
        own = getattr(self.samples, name)
        return own if name == "remedy" else lambda index: own(int(self.indices[index]))


def named_parts(given: Any, source: str) -> dict[str, Any]:
    """Returns the data sets by part, if there are one, two (with test) or three.

    Args:
        given: a data set, a sequence of up to three, or a mapping by part.
        source: what gives them, for the message.

    Raises:
        ValueError: they are something else, or one is no map-style data set.
    """
    if isinstance(given, Mapping):
        parts = {OTHER_NAMES.get(str(name), str(name)): part for name, part in given.items()}
        parts = {name: part for name, part in parts.items() if name in PARTS}
    elif isinstance(given, tuple | list):
        names = {1: ("train",), 2: ("train", "test"), 3: PARTS}.get(len(given), ())
        parts = dict(zip(names, given, strict=False))
    else:
        parts = {"train": given}
    if "train" not in parts:
        raise ValueError(
            f"{source}: give one data set, (train, test), (train, validation, test), or a dict of "
            f"them, got {kind_of(given)}"
        )
    for name, part in parts.items():
        if not hasattr(part, "__len__") or not hasattr(part, "__getitem__"):
            raise ValueError(
                f"{source}: {name} is {kind_of(part)}, which has no length or no samples by "
                "number; give a map-style data set"
            )
    return parts


def any_splits(
    parts: Mapping[str, Samples],
    fractions: Mapping[str, float],
    seed: int,
    classes: int | None = None,
    scale_of: Callable[[Any], Scale | None] | None = None,
    transform: Callable[[Any], Any] | None = None,
) -> Splits:
    """Returns splits of all parts; validation and test are cut from training if they are missing.

    Args:
        parts: train, and validation and test if there are any.
        fractions: of training, that become the parts which are missing.
        seed: of that draw.
        classes: None counts them, for which all labels are read.
        scale_of: returns mean and std per channel of uint8 inputs, of the training samples.
        transform: of the inputs of a training sample, in the training loop alone.

    Raises:
        ValueError: a sample cannot be read, or there are too few.
    """
    labels = {name: _labels(samples, name, classes) for name, samples in parts.items()}
    missing = {name: fraction for name, fraction in fractions.items() if name not in parts}
    if missing:
        train, known = parts["train"], labels["train"]
        drawn = divided(len(train), known, missing, seed)
        parts = {**parts, **{name: _chosen(train, indices) for name, indices in drawn.items()}}
        for name, indices in drawn.items():
            labels[name] = None if known is None else known[indices]
    there = {name: found for name, found in labels.items() if found is not None}
    count = classes or _classes(there.values())
    ordered = {name: parts[name] for name in PARTS}
    scale = scale_of and scale_of(ordered["train"])
    return streamed_splits(ordered, count, there, scale, transform)


def _chosen(samples: Samples, indices: Tensor) -> Samples:
    return (
        samples.chosen(indices) if isinstance(samples, ArraySamples) else Chosen(samples, indices)
    )


def _labels(samples: Any, part: str, classes: int | None) -> Tensor | None:
    """Returns the labels that a data set says, or, to count its classes, those of its samples."""
    said = getattr(samples, "targets", None)
    said = getattr(samples, "labels", None) if said is None else said
    if said is not None and len(said) == len(samples):
        try:
            return as_labels(as_tensor(said))
        except (ValueError, TypeError, RuntimeError):
            pass  # text, or a list of several kinds; the samples decide
    if classes is not None:
        return None
    chunks = torch.arange(len(samples)).split(CHUNK)
    requests = (Request(part, chunk.tolist(), None) for chunk in chunks)
    read = SamplePool(Reader({part: samples})).read(requests, torch.device("cpu"))
    return torch.cat([as_labels(labels) for _, labels in read])


def _classes(labels: Iterable[Tensor]) -> int:
    """Returns the number of classes, or of targets of a sample if they are real numbers."""
    first, *others = labels
    if first.is_floating_point():
        return int(first[0].numel())
    return 1 + max(int(found.max()) for found in (first, *others))
