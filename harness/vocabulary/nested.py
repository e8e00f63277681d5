"""Finds the tensors in a model's output: lists, tuples, dictionaries and dataclasses."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def iter_tensors(value: Any) -> Iterator[Tensor]:
    """Yields all tensors of nested lists, tuples, dictionaries and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from iter_tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from iter_tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from iter_tensors([getattr(value, item.name) for item in fields(value)])


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Returns a copy of the value with `change` applied to each tensor of `iter_tensors`."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        changed = copy.copy(value)
        for key, item in value.items():
            changed[key] = map_tensors(item, change)
        return changed
    if isinstance(value, list | tuple):
        parts = [map_tensors(field, change) for field in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        made = copy.copy(value)
        for field in fields(value):  # bypasses __setattr__ of a frozen one
            item = map_tensors(getattr(value, field.name), change)
            object.__setattr__(made, field.name, item)
        return made
    return value


def named_entries(value: Any) -> dict[str, Any]:
    """Returns the entries of a tuple, list, dictionary or dataclass by index or name.

    >>> named_entries({"loss": 1, "logits": 2}), named_entries((3, 4))
    ({'loss': 1, 'logits': 2}, {'0': 3, '1': 4})
    """
    if isinstance(value, dict):
        return {str(name): item for name, item in value.items()}
    if isinstance(value, list | tuple):
        return {str(index): item for index, item in enumerate(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    return {}
