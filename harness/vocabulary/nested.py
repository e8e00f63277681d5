"""The tensors of what a network returns: one alone, or lists, tuples, dictionaries, dataclasses."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def iter_tensors(found: Any) -> Iterator[Tensor]:
    """All tensors of nested lists, tuples, dictionaries and dataclasses."""
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, dict):
        yield from iter_tensors(list(found.values()))
    elif isinstance(found, list | tuple):
        for each in found:
            yield from iter_tensors(each)
    elif is_dataclass(found) and not isinstance(found, type):
        yield from iter_tensors([getattr(found, each.name) for each in fields(found)])


def map_tensors(found: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same of `change` of each tensor that `iter_tensors` tells of; `found` stays as it is."""
    if isinstance(found, Tensor):
        return change(found)
    if isinstance(found, dict):
        changed = copy.copy(found)
        for key, value in found.items():
            changed[key] = map_tensors(value, change)
        return changed
    if isinstance(found, list | tuple):
        parts = [map_tensors(each, change) for each in found]
        return type(found)(*parts) if hasattr(found, "_fields") else type(found)(parts)
    if is_dataclass(found) and not isinstance(found, type):
        made = copy.copy(found)
        for each in fields(found):  # past a frozen one's __setattr__
            value = map_tensors(getattr(found, each.name), change)
            object.__setattr__(made, each.name, value)
        return made
    return found
