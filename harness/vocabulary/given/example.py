"""Checks what a user gives to call a model with once."""

from typing import Any

from harness.vocabulary.finite import is_finite
from harness.vocabulary.given.batches import kind_of
from harness.vocabulary.nested import iter_tensors


def check_example(example_input: Any) -> None:
    """Checks that an example input has values, by which a model can be followed and compared.

    Raises:
        ValueError: it holds no tensor, or one without entries, on the meta device, or not finite.
    """
    given = list(iter_tensors(example_input))
    if not given:
        raise ValueError(
            f"example_input holds no tensor, it is {kind_of(example_input)}; give a batch of "
            "inputs as a tensor, or a dictionary of keyword arguments with tensors"
        )
    for tensor in given:
        shape = tuple(tensor.shape)
        if tensor.is_meta or not tensor.numel():
            raise ValueError(
                f"example_input of shape {shape} has no values; give a batch of inputs"
            )
        if tensor.is_floating_point() and not is_finite(tensor):
            raise ValueError(
                f"example_input of shape {shape} holds values that are not finite; give a batch of "
                "inputs as in training"
            )
