"""Converts values to text that is equal in every process with an equal value."""

from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.model_state.contents import PLAIN
from harness.model_state.fingerprints import fingerprint

DEEPEST = 4  # levels of nested values
FEW = 64  # items that are written one by one
DEVICE = ("cuda", "cpu", "mps")  # differs between ranks


def canonical(value: object, depth: int = 0) -> str | None:
    """Returns the value as text without addresses, or None if it has no such text.

    Functions, modules and callable objects appear by their names and classes alone, because their
    state may come from one rank's samples.

    >>> canonical([1.0, "relu"])
    "list [float 1.0, str 'relu']"
    >>> canonical(torch.relu) == canonical(torch.tanh)
    False
    """
    if isinstance(value, PLAIN):
        is_device = isinstance(value, str) and value.startswith(DEVICE)
        return None if is_device else f"{type(value).__name__} {value!r}"
    if isinstance(value, Tensor):
        return fingerprint({"": value})[""]
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {value.shape} {sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, torch.dtype):
        return str(value)
    return _container(value, depth) if depth < DEEPEST else None


def _is_plain(value: Any) -> bool:
    """Returns True if the repr shows the whole value in a fixed order: no sets, no objects.

    >>> _is_plain({"a": (1, 2.0)}), _is_plain([{1}])
    (True, False)
    """
    kind = type(value)
    if kind is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return kind in PLAIN or (kind in (list, tuple) and all(map(_is_plain, value)))


def _container(value: Any, depth: int) -> str | None:
    if isinstance(value, list | tuple | dict) and len(value) > FEW and _is_plain(value):
        # A vocabulary has 50,000 words, and this runs around every call of a component.
        digest = sha256(repr(value).encode(errors="backslashreplace")).hexdigest()
        return f"{type(value).__name__} of {len(value)}, {digest}"
    if isinstance(value, partial):
        return f"partial {_items([value.func, value.args, value.keywords], depth)}"
    if isinstance(value, list | tuple | set | frozenset | dict):
        return f"{type(value).__name__} {_items(value, depth)}"
    if callable(value):
        return _called(value)
    if is_dataclass(value):
        held = {field.name: getattr(value, field.name, None) for field in fields(value)}
        return f"{_called(type(value))} {_items(held, depth)}"
    return None


def _items(value: Any, depth: int) -> str:
    if isinstance(value, dict):
        value = list(value.items())
    items = [str(canonical(item, depth + 1)) for item in value]
    return f"[{', '.join(sorted(items) if isinstance(value, set | frozenset) else items)}]"


def _called(value: Any) -> str:
    """Returns the qualified name of a callable, or of its class.

    >>> layer = torch.nn.Linear(1, 1)
    >>> _called(layer), _called(layer.forward)
    ('torch.nn.modules.linear.Linear', 'torch.nn.modules.linear.Linear.forward')
    """
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
