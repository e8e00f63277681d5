"""Checks what a data set has loaded."""

from typing import Any

from harness.data.base import Splits, first_inputs
from harness.vocabulary.given.batches import kind_of

PARTS = ("train", "validation", "test")
METHODS = ("__len__", "batches", "to")


def check_splits(splits: Any) -> Splits:
    """Returns what a data set has loaded, if it is three splits with samples.

    Raises:
        ValueError: it is something else, or a batch is no pair of inputs and labels.
    """
    if not isinstance(splits, Splits):
        raise ValueError(
            f"data: load() must return Splits of harness.data.base, got {kind_of(splits)}"
        )
    for part in PARTS:
        split = getattr(splits, part)
        missing = [name for name in METHODS if not hasattr(split, name)]
        if missing:
            raise ValueError(
                f"data: the {part} split is {kind_of(split)}, which has no {missing[0]}; use Split "
                "of harness.data.base, or a class with its three methods"
            )
        if not len(split):
            raise ValueError(f"data: the {part} split has no samples; give it at least 1")
        first_inputs(split, 2)  # refuses a batch that is no pair for these samples
    return splits
