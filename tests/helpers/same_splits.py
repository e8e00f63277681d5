"""Checks whether two data sets have the same samples in the same order."""

import torch

from harness.data.base import Splits


def equal(one: Splits, other: Splits) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("train", "validation", "test")]
    return all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels) for a, b in pairs
    )
