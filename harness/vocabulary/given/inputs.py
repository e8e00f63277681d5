"""Defines what a model is called with: one tensor, or several by the names of its arguments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Inputs = Tensor | dict[str, Tensor]  # each (samples, ...)
SampleShape = tuple[int, ...] | dict[str, tuple[int, ...]]  # of one sample, without the batch


def call_model(model: Callable[..., Any], inputs: Any) -> Any:
    """Calls a model with one argument, or with a dictionary of keyword arguments."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def map_inputs(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Returns inputs of the same names with each tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    return {name: change(tensor) for name, tensor in inputs.items()}


def input_tensors(inputs: Inputs) -> list[Tensor]:
    """Returns the tensors of inputs, in the order of their names."""
    return [inputs] if isinstance(inputs, Tensor) else list(inputs.values())


def samples_of(inputs: Inputs) -> int:
    """Returns the number of samples.

    >>> samples_of({"ids": torch.zeros(3, 5), "mask": torch.ones(3, 5)})
    3
    """
    return len(input_tensors(inputs)[0])


def device_of(inputs: Inputs) -> torch.device:
    return input_tensors(inputs)[0].device


def first_samples(inputs: Inputs, count: int) -> Inputs:
    """Returns views of the first `count` samples."""
    return map_inputs(lambda tensor: tensor[:count], inputs)


def select_samples(inputs: Inputs, indices: Tensor) -> Inputs:
    """Returns copies of the samples with these indices, on the inputs' device."""
    local = indices.to(device_of(inputs))
    return map_inputs(lambda tensor: tensor.index_select(0, local), inputs)


def clone_inputs(inputs: Inputs) -> Inputs:
    """Returns copies, for a model that writes into its inputs."""
    return map_inputs(torch.clone, inputs)


def floats_to(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Returns the inputs with real numbers in this dtype; whole numbers stay as they are."""
    return map_inputs(lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)


def join_samples(parts: Sequence[Inputs]) -> Inputs:
    """Returns the samples of all parts, one after the other.

    >>> join_samples([{"a": torch.ones(1)}, {"a": torch.zeros(2)}])["a"].tolist()
    [1.0, 0.0, 0.0]
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    named = [part for part in parts if isinstance(part, dict)]
    return {name: torch.cat([part[name] for part in named]) for name in first}


def split_samples(inputs: Inputs, size: int) -> list[Inputs]:
    """Returns parts of `size` samples; the last may have fewer."""
    if isinstance(inputs, Tensor):
        return list(inputs.split(size))
    columns = [tensor.split(size) for tensor in inputs.values()]
    return [dict(zip(inputs, part, strict=True)) for part in zip(*columns, strict=True)]


def shape_of_sample(inputs: Inputs) -> SampleShape:
    """Returns the shape of one sample, by name where the inputs have names.

    >>> shape_of_sample({"ids": torch.zeros(3, 5), "length": torch.zeros(3)})
    {'ids': (5,), 'length': ()}
    """
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape[1:])
    return {name: tuple(tensor.shape[1:]) for name, tensor in inputs.items()}


def describe_inputs(inputs: Inputs) -> str:
    """Returns shapes and dtypes in words.

    >>> describe_inputs({"ids": torch.zeros(2, 5, dtype=torch.int64), "age": torch.zeros(2)})
    'ids (2, 5) torch.int64, age (2,) torch.float32'
    """
    named = {"": inputs} if isinstance(inputs, Tensor) else inputs
    each = (f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in named.items())
    return ", ".join(each).strip()
