"""What no checkpoint holds: attributes of the network's modules and of parts that are no buffers.

Parameters and buffers are saved whole. A counter that a module keeps for itself (self.calls += 1)
begins anew when the run is resumed; here such attributes are found and named, not saved.
"""

import hashlib
import random
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.tensors import SPARSE, dense_parts, has_extra_state

Values = dict[str, Any]  # name of an attribute -> something that is equal if its value is

NETWORK = "network"
OF_TORCH = frozenset(vars(nn.Module()))  # mode, hooks, and what is registered
# What nn.RNNBase sets from its parameters at each forward pass.
OF_RNN = frozenset(("_flat_weights", "_flat_weight_refs"))
PLAIN = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
NO_STATE = (type, ModuleType)
# As torch names what an attribute is computed from anew in each forward pass.
ORIGINALS = ("_orig", "_g", "_v")
DEEPEST = 4  # objects within objects
# Beyond it a tensor's identity and version stand for its bytes, of longer containers the length.
MOST_BYTES, MOST_ITEMS = 2**22, 1000


class Unsaved:
    """Compares attributes with those at the run's start, which a resumed run begins with."""

    def __init__(self) -> None:
        self._before: Values | None = None
        self._parts: Mapping[str, object] = {}
        self._named: set[str] = set()

    def begin(self, network: nn.Module, parts: Mapping[str, object]) -> None:
        """The network has made a forward pass: what the first one sets up is no change."""
        self._parts = parts
        self._before = attributes(network, parts)

    def look(self, network: nn.Module) -> None:
        """Warns of each attribute that has changed, once."""
        now = attributes(network, self._parts)
        before = now if self._before is None else self._before
        changed = [name for name in now if now[name] != before.get(name, _Absent)]
        found = [name for name in changed if name not in self._named]
        self._named.update(found)
        for names, way_out in _sorted_out(found):
            print(
                f"warning: {', '.join(names)} changed since the run began, and no checkpoint holds "
                f"it: interrupted and resumed, the run may end in other records; {way_out}",
                file=sys.stderr,
            )


class _Absent:
    """Stands for no value."""


def _sorted_out(found: Collection[str]) -> Iterator[tuple[list[str], str]]:
    of_network = [name for name in found if name.startswith(f"{NETWORK}.")]
    of_parts = [name for name in found if name not in of_network]
    if of_network:
        yield of_network, "register it as a buffer (self.register_buffer)"
    if of_parts:
        yield (
            of_parts,
            "nothing that a part keeps is saved: compute it from what the part is given, or "
            "register it as a buffer of the network",
        )


def attributes(network: nn.Module, parts: Mapping[str, object]) -> Values:
    """Numbers, texts, tensors and random streams that are plain attributes, by name.

    Of the network's modules those that are not registered; of parts all, also of modules, lists
    and objects that they hold, but not the network's own tensors.
    """
    walk = _Walk(network)
    for path, module in network.named_modules():
        if has_extra_state(module):
            continue  # it saves itself what it keeps
        walk.members(module, f"{NETWORK}.{path}".removesuffix("."), 0)
    for name, part in parts.items():
        walk.visit(part, name, 0)
    return walk.found


class _Walk:
    def __init__(self, network: nn.Module):
        self.found: Values = {}
        # By id: the modules that are visited anyway, and tensors that checkpoints hold.
        self.seen = {id(module) for module in network.modules()}
        self.saved = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}

    def visit(self, value: object, name: str, depth: int) -> None:
        if isinstance(value, Tensor) and id(value) in self.saved:
            return
        simple = _simple(value)
        if simple is not None:
            self.found[name] = simple
        elif depth < DEEPEST:
            self._enter(value, name, depth)

    def _enter(self, value: object, name: str, depth: int) -> None:
        if isinstance(value, NO_STATE) or id(value) in self.seen:
            return
        self.seen.add(id(value))
        if isinstance(value, CONTAINERS):
            self.found[name] = self._items(value, depth)
        elif isinstance(value, nn.Module):
            for key, held in {**value._parameters, **value._buffers, **value._modules}.items():
                self.visit(held, f"{name}.{key}", depth + 1)
            self.members(value, name, depth)
        else:
            self.members(value, name, depth)

    def _items(self, value: Any, depth: int) -> Any:
        """Of a container as one value."""
        if len(value) > MOST_ITEMS:
            return len(value)
        inner, self.found = self.found, {}
        keyed = value.items() if isinstance(value, dict) else enumerate(_ordered(value))
        for key, item in keyed:
            self.visit(item, repr(key), depth + 1)
        items, self.found = self.found, inner
        return len(value), items

    def members(self, owner: object, name: str, depth: int) -> None:
        for key, value in _members(owner).items():
            self.visit(value, f"{name}.{key}", depth + 1)


def _members(owner: object) -> Values:
    """Attributes, also those in slots; not what is computed from other attributes."""
    kind = type(owner)
    slots = [key for base in kind.__mro__ for key in _slots(base)]
    found = {key: getattr(owner, key) for key in slots if hasattr(owner, key)}
    found |= getattr(owner, "__dict__", {})
    registered = owner._parameters if isinstance(owner, nn.Module) else {}
    hidden = OF_TORCH if isinstance(owner, nn.Module) else frozenset[str]()
    hidden |= OF_RNN if isinstance(owner, nn.RNNBase) else frozenset()
    return {
        key: value
        for key, value in found.items()
        if key not in hidden
        and not isinstance(getattr(kind, key, None), cached_property)
        and not any(key + end in registered for end in ORIGINALS)
    }


def _slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _ordered(value: Any) -> Any:
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else value


def _simple(value: object) -> Any:
    """A number, text, tensor or random stream as something that can be compared; else None."""
    if isinstance(value, PLAIN):
        return type(value).__name__, repr(value)  # nan is equal to nan
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        return str(value.dtype), value.shape, _sha256(np.ascontiguousarray(value).tobytes())
    if isinstance(value, torch.Generator):
        return _of_tensor(value.get_state())
    if isinstance(value, random.Random):
        return _sha256(repr(value.getstate()).encode())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    return None


def _of_tensor(value: Tensor) -> Any:
    about = str(value.dtype), tuple(value.shape)
    if value.layout in SPARSE or value.is_quantized:
        return *about, str(value.layout), *map(_of_tensor, dense_parts(value))
    if value.nbytes <= MOST_BYTES and value.layout == torch.strided and not value.is_meta:
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return *about, _sha256(data.numpy().tobytes())
    return *about, id(value), 0 if value.is_inference() else value._version


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
