"""Chooses the training samples that a saliency may read: fixed, seeded, class-balanced."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from harness.data.base import Split, labels_of
from harness.vocabulary.apportion import apportion
from harness.vocabulary.checks import check_declared
from harness.vocabulary.seeds import derive

COUNT = "a whole number of at least 1; an empty calibration set has no gradients"


@dataclass(frozen=True)
class Samples:
    """Draws the same samples at every level and on any number of ranks, with the run's seed.

    samples: how many in all. per_class: or how many of each class; then samples must be null.
    balanced: `samples` are divided equally between the classes, as far as each has so many;
    otherwise they are drawn from all. Labels that are not one class per sample are not balanced.
    Samples none of whose labels counts for the task are never drawn.

    Raises:
        ValueError: a number is below 1, or not exactly one of the two is given.
    """

    samples: Annotated[int, COUNT] | None = 512
    per_class: Annotated[int, COUNT] | None = None
    balanced: bool = True

    def __post_init__(self) -> None:
        check_declared(self)
        if (self.samples is None) == (self.per_class is None):
            raise ValueError(
                f"one of samples and per_class must be given, got samples={self.samples} and "
                f"per_class={self.per_class}; set the other to null"
            )

    def indices(
        self, split: Split, classes: int, seed: int, sample_weights: Tensor | None = None
    ) -> Tensor:
        """Returns indices into the split, in a seeded order in which classes are mixed.

        sample_weights: how much of each sample counts, on the CPU; None: all of each.

        Raises:
            ValueError: the split has too few samples.
        """
        stream = torch.Generator().manual_seed(derive(seed, "calibration"))
        order = torch.randperm(len(split), generator=stream)
        if sample_weights is not None:
            order = order[sample_weights[order] > 0]
        if self.samples is not None and self.samples > len(order):
            labelled = "" if len(order) == len(split) else " with a label that counts"
            raise ValueError(
                f"calibration.samples={self.samples}, but there are only {len(order)} training "
                f"samples{labelled}; ask for at most as many"
            )
        if self.per_class is None and not self.balanced:
            return order[: self.samples]
        labels = labels_of(split)[order]
        if labels.dim() > 1 or labels.is_floating_point():
            if self.per_class is not None:
                raise ValueError("calibration.per_class needs one class per sample; use samples")
            return order[: self.samples]
        available = {str(label): int((labels == label).sum()) for label in range(classes)}
        self._check_classes(sum(available.values()), len(order), classes)
        quota = self._quota(available)
        chosen = torch.zeros(len(order), dtype=torch.bool)
        for label, count in quota.items():
            chosen[(labels == int(label)).nonzero().flatten()[:count]] = True
        return order[chosen]

    def _check_classes(self, inside: int, count: int, classes: int) -> None:
        if self.samples is not None and inside < self.samples:
            raise ValueError(
                f"calibration.balanced=true shares samples between {classes} classes, but the "
                f"labels of only {inside} of {count} samples are 0 to {classes - 1}; set "
                "calibration.balanced=false"
            )

    def _quota(self, available: dict[str, int]) -> dict[str, int]:
        if self.samples is not None:
            return apportion(self.samples, dict.fromkeys(available, 1), available)
        assert self.per_class is not None
        few = min(available, key=lambda label: available[label])
        if available[few] < self.per_class:
            raise ValueError(
                f"calibration.per_class={self.per_class}, but class {few} has only "
                f"{available[few]} training samples; ask for at most as many"
            )
        return dict.fromkeys(available, self.per_class)
