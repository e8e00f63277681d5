"""Compares outputs of a delivered model with those of the model that it stands for."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.proving.differences import relative_error
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import iter_tensors


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Returns the tensors that the model outputs.

    inputs: a batch, or a dictionary of keyword arguments.
    """
    return list(iter_tensors(call_model(model, inputs)))


def differences(found: Sequence[Tensor], expected: Sequence[Tensor]) -> Iterator[float]:
    """Yields max|found - expected| / max|expected| of each output.

    Raises:
        ValueError: there are more of one than of the other.
    """
    for one, two in zip(found, expected, strict=True):
        yield relative_error(one.double(), two.double())
