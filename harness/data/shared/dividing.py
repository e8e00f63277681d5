"""Divides samples into parts, by class where their labels are classes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.data.shared.splits import PARTS
from harness.vocabulary.seeds import derive

FRACTION = "a number in (0, 1); it is a fraction of the samples, write e.g. 0.1"


def divided(
    samples: int, labels: Tensor | None, fractions: Mapping[str, float], seed: int
) -> dict[str, Tensor]:
    """Returns disjoint sorted indices of `train`, and of each part with a fraction.

    Labels that are classes (one whole number per sample) are divided class by class, where each
    class has a sample for each part. Otherwise, samples are drawn from all.

    >>> {name: len(part) for name, part in divided(10, None, {"validation": 0.2}, seed=0).items()}
    {'train': 8, 'validation': 2}

    Raises:
        ValueError: there are too few samples, or the fractions leave none for training.
    """
    if sum(fractions.values()) >= 1:
        raise ValueError(
            f"data: {' + '.join(fractions)} must be below 1, got {sum(fractions.values()):g}; the "
            "rest is for training"
        )
    order = torch.randperm(
        samples, generator=torch.Generator().manual_seed(derive(seed, "division"))
    )
    groups = [order]
    if labels is not None and labels.ndim == 1 and not labels.is_floating_point():
        by_class = [order[labels[order] == label] for label in labels.unique()]
        groups = by_class if min(map(len, by_class)) > len(fractions) else groups
    if min(map(len, groups)) <= len(fractions):
        raise ValueError(
            f"data: {samples} samples are too few for train, {', '.join(fractions)}; give more"
        )
    parts: dict[str, list[Tensor]] = {name: [] for name in PARTS if name in ("train", *fractions)}
    for group in groups:
        begin = 0
        for name, fraction in fractions.items():
            count = max(1, round(fraction * len(group)))
            parts[name].append(group[begin : begin + count])
            begin += count
        parts["train"].append(group[begin:])
    return {name: torch.cat(chosen).sort().values for name, chosen in parts.items()}
