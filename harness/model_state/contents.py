"""Reads plain values, tensors, arrays and random streams into comparable objects."""

import hashlib
import marshal
import random
from array import array
from collections import deque
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.vocabulary.tensors import SPARSE, dense_parts

PLAIN = (bool, int, float, complex, str, bytes, type(None))
# Their repr shows all their content and no caches.
SHOWN = (
    *(Enum, PurePath, Decimal, Fraction, date, timedelta, range, slice),
    *(torch.dtype, torch.device, torch.layout, np.dtype),
)
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
BUFFERS = (bytearray, array, memoryview)
# Bytes of a tensor that is hashed whole. Of a larger one, its version and SAMPLE entries are read.
MOST_OF_TENSOR, SAMPLE = 2**22, 2**12
# Bytes that one comparison hashes in all: a quarter of a second.
MOST_BYTES = 2**28
# Bytes that one item of a container costs.
ITEM = 2**12


class Contents:
    """Reads values, up to MOST_BYTES in all. `left` is the number of bytes that remain."""

    def __init__(self) -> None:
        self.left = MOST_BYTES

    def of(self, value: object) -> Any:
        """Returns an object that is equal if the value is, or None for other kinds of values."""
        if isinstance(value, SHOWN):
            return type(value).__name__, repr(value)
        if isinstance(value, PLAIN):
            return type(value).__name__, self._short(repr(value))  # nan is equal to nan
        if isinstance(value, BUFFERS):
            return type(value).__name__, self.digest(memoryview(value).tobytes())
        if isinstance(value, Tensor):
            return self._of_tensor(value)
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            return self._of_array(np.asarray(value))
        return self._of_stream(value)

    def digest(self, content: bytes) -> str:
        self.left -= len(content)
        return hashlib.sha256(content).hexdigest()

    def of_items(self, value: Any) -> str | None:
        """Returns the digest of a container of plain values and such containers, else None.

        This takes about 20 ns an item.
        """
        plain = value if isinstance(value, dict) else list(value)
        try:
            # Version 2 does not depend on the number of references to an item.
            return self.digest(marshal.dumps(plain, 2))
        except ValueError:
            return None

    def _short(self, text: str) -> str:
        return text if len(text) < 100 else self.digest(text.encode(errors="backslashreplace"))

    def _of_stream(self, value: object) -> Any:
        if isinstance(value, torch.Generator):
            return self._of_tensor(value.get_state())
        if isinstance(value, random.Random):
            return self.digest(repr(value.getstate()).encode())
        if isinstance(value, np.random.Generator):
            return repr(value.bit_generator.state)
        if isinstance(value, np.random.RandomState):
            return self.digest(repr([*map(_listed, value.get_state(legacy=True))]).encode())
        return None

    def _of_tensor(self, value: Tensor) -> Any:
        about = str(value.dtype), tuple(value.shape)
        if value.layout in SPARSE or value.is_quantized:
            return *about, str(value.layout), *map(self._of_tensor, dense_parts(value))
        if value.is_meta or value.layout != torch.strided:
            return about
        flat, whole = value.detach().reshape(-1), value.nbytes <= min(MOST_OF_TENSOR, self.left)
        read = flat if whole else flat[:: -(-len(flat) // SAMPLE)]
        data = read.cpu().contiguous().resolve_conj().resolve_neg().view(torch.uint8)
        version = 0 if whole or value.is_inference() else value._version
        return *about, self.digest(data.numpy().tobytes()), version

    def _of_array(self, value: np.ndarray) -> Any:
        # Read-only arrays, such as a mapped file, do not change.
        whole = value.flags.writeable and value.nbytes <= self.left
        step = 1 if whole or not value.size else -(-value.size // SAMPLE)
        return str(value.dtype), value.shape, self.digest(value.flat[::step].tobytes())


def _listed(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def ordered(value: Any) -> Any:
    """Returns a set's items in a fixed order. Other containers are returned unchanged."""
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else value
