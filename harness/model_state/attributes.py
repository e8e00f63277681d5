"""Finds the state of a model and of components that checkpoints do not hold, by name."""

import inspect
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, cached_property, partial
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.data.shared.loading import Machinery
from harness.model_state.class_code import is_own, named_globals, slot_names
from harness.model_state.contents import CONTAINERS, ITEM, Contents, ordered
from harness.vocabulary.tensors import has_extra_state

Values = dict[tuple[str, str], Any]  # root, name -> object that is equal if the value is

MODEL = "model"
OF_TORCH = frozenset(vars(nn.Module()))  # mode, hooks, and what is registered
OF_RNN = frozenset(("_flat_weights", "_flat_weight_refs"))  # set anew at each forward pass
# Hooks of modules, parameters and optimizers. Their state is compared, not their presence.
HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_post_accumulate_grad_hooks", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"),
)
NO_STATE = (ModuleType, logging.Logger, io.IOBase, Machinery)
# torch's suffixes of parameters from which an attribute is computed in each forward pass.
ORIGINALS = ("_orig", "_g", "_v")
PYTHONS = ("builtins", "itertools", "_csv")  # iterators written in C
DEEPEST = 20  # levels of nested objects
FEW = 64  # items that are read one by one


@cache
def _of_optimizer() -> frozenset[str]:
    """Returns attributes that are not compared: of the state_dict, hooks, and torch's notes."""
    # Not at import: torch imports its compiler, for seconds, when the first optimizer is made.
    fused = torch.optim.SGD([torch.zeros(1)], fused=True)  # which notes what it has checked
    return frozenset({**vars(torch.optim.SGD([torch.zeros(1)])), **vars(fused)})


class Unknown:
    """Replaces a value that cannot be compared."""


def attribute_values(model: nn.Module, parts: Mapping[str, object]) -> Values:
    """Returns numbers, texts, tensors, random streams and positions of iterators.

    For the model's modules this is everything that is not registered. For components it is
    everything, including the modules, containers, objects and closures that they hold. Classes and
    functions of neither a library nor the harness add class attributes and the globals that their
    code names. State of checkpoints is left out: the model's tensors, views of them, and what a
    module or optimizer saves.
    """
    walk = _Walk(model)
    for path, module in model.named_modules():
        if not has_extra_state(module):
            walk.members(module, f"{MODEL}.{path}".removesuffix("."), 0)
    for path, parameter in model.named_parameters():
        walk.hooks(parameter, f"{MODEL}.{path}", 0)
    for name, part in parts.items():
        walk.root = name
        walk.visit(part, name, 0)
    return walk.values


class _Walk:
    def __init__(self, model: nn.Module):
        self.root, self.values, self.contents = MODEL, Values(), Contents()
        # By id, with the first name. The objects are kept alive, or their ids would be reused.
        self.seen = {id(module): path for path, module in model.named_modules()}
        self.alive: list[object] = []
        self.classes: set[type] = set()
        saved = (*model.parameters(), *model.buffers())
        self.saved = {
            key for tensor in saved for key in (id(tensor), _storage(tensor) or id(tensor))
        }

    def visit(self, value: object, name: str, depth: int) -> None:
        if isinstance(value, Tensor) and self._is_saved(value):
            return
        simple = self.contents.of(value)
        if simple is not None:
            self._put(name, simple)
        elif id(value) in self.seen:
            self._put(name, f"as {self.seen[id(value)]}")
        elif depth < DEEPEST and not isinstance(value, NO_STATE):
            self.seen[id(value)] = name
            self.alive.append(value)
            self._enter(value, name, depth + 1)

    def _is_saved(self, tensor: Tensor) -> bool:
        return id(tensor) in self.saved or (_storage(tensor) or id(tensor)) in self.saved

    def _put(self, name: str, value: object) -> None:
        self.values[self.root, name] = value

    def _enter(self, value: Any, name: str, depth: int) -> None:
        if isinstance(value, type):
            self._class(value, name, depth)
        elif isinstance(value, FunctionType | MethodType | partial):
            self._put(name, getattr(value, "__qualname__", None))
            self._function(value, name, depth)
        elif isinstance(value, np.ndarray):
            self._put(name, self._items(value.tolist(), depth))
        elif isinstance(value, GeneratorType):
            self._put(name, value.gi_frame and value.gi_frame.f_lasti)
            self._all(inspect.getgeneratorlocals(value).items(), name, depth)
        elif hasattr(value, "__next__") and type(value).__module__ in PYTHONS:
            self._put(name, self._iterator(value, depth))
        elif not _saves_itself(value):
            if isinstance(value, CONTAINERS):
                self._put(name, self._items(value, depth))
            if isinstance(value, nn.Module):
                self._all({**value._parameters, **value._buffers}.items(), name, depth)
                self._all(value._modules.items(), name, depth)
            self.members(value, name, depth)

    def _all(self, named: Iterable[tuple[str, object]], name: str, depth: int) -> None:
        for key, value in named:
            self.visit(value, f"{name}.{key}", depth)

    def _items(self, value: Any, depth: int) -> Any:
        """Returns the value of a whole container."""
        if len(value) > FEW:
            whole = self.contents.of_items(value)
            if whole is not None:
                return len(value), whole
        self.contents.left -= ITEM * len(value)
        if self.contents.left < 0:
            # A component exists once and keeps its items. Models are built several times.
            return Unknown if self.root == MODEL else hash(tuple(map(id, value)))
        pairs = value.items() if isinstance(value, dict) else enumerate(ordered(value))
        outer, self.values = self.values, {}
        for number, (key, item) in enumerate(pairs):
            shown = self.contents.of(key) if not isinstance(key, Tensor) else None
            self.visit(item, repr(shown or number), depth)
        items, self.values = self.values, outer
        if Unknown in items.values():
            return Unknown
        return len(value), self.contents.digest(repr(items).encode(errors="backslashreplace"))

    def _iterator(self, value: Any, depth: int) -> Any:
        """Returns the value of a built-in iterator, whose reduced form contains its position."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parts = value.__reduce_ex__(2)
        except TypeError:
            return Unknown
        self.alive.append(parts)
        return self._items([*parts[1:]], depth)

    def hooks(self, owner: object, name: str, depth: int) -> None:
        for kind in HOOKS:
            for hook in (getattr(owner, kind, None) or {}).values():
                self.alive.append(hook)
                if getattr(hook, "in_checkpoints", False):
                    continue
                if self.seen.setdefault(id(hook), name) == name:
                    self._function(hook, f"{name}.{kind}", depth + 1)

    def _function(self, value: Any, name: str, depth: int) -> None:
        if isinstance(value, FunctionType | MethodType | partial):
            self._all(_of_function(value), name, depth)
        else:
            self.members(value, name, depth)

    def members(self, owner: object, name: str, depth: int) -> None:
        self._all(_members(owner).items(), name, depth)
        if isinstance(owner, nn.Module | Optimizer):
            self.hooks(owner, name, depth)
        self._class(type(owner), name, depth)

    def _class(self, kind: type, name: str, depth: int) -> None:
        for base in kind.__mro__:
            if base not in self.classes and is_own(base.__module__):
                self.classes.add(base)
                self._all(_of_class(base), f"{name}.{base.__name__}", depth + 1)


def _saves_itself(value: object) -> bool:
    if isinstance(value, Optimizer):
        return type(value).state_dict is not Optimizer.state_dict
    return isinstance(value, nn.Module) and has_extra_state(value)


def _storage(tensor: Tensor) -> int | None:
    """Returns the address of a tensor's memory. Views have the same."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (NotImplementedError, RuntimeError):  # no storage, or several
        return None


def _of_function(value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, MethodType):
        yield from (("__self__", value.__self__), ("__func__", value.__func__))
    elif is_own(value.__module__):
        for key, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                yield key, cell.cell_contents
        yield from vars(value).items()
        defaults = {"__defaults__": value.__defaults__, "__kwdefaults__": value.__kwdefaults__}
        yield from ((key, held) for key, held in defaults.items() if held)
        yield from named_globals(value).items()


def _of_class(kind: type) -> Iterator[tuple[str, object]]:
    """Yields attributes of a class and the functions behind its methods and properties."""
    for key, value in vars(kind).items():
        if isinstance(value, property):
            functions = {"get": value.fget, "set": value.fset}
            yield from ((f"{key}.{how}", method) for how, method in functions.items() if method)
            continue
        function = getattr(value, "__func__", getattr(value, "func", value))
        if isinstance(function, FunctionType) or not (
            key.startswith("__") or inspect.isroutine(function)
        ):
            yield key, function


def _members(owner: object) -> dict[str, Any]:
    """Returns attributes, also of slots, but none that is computed from other attributes."""
    kind: Any = type(owner)
    members = {key: getattr(owner, key) for key in slot_names(kind) if hasattr(owner, key)}
    members |= getattr(owner, "__dict__", {})
    registered = owner._parameters if isinstance(owner, nn.Module) else {}
    hidden = OF_TORCH if isinstance(owner, nn.Module) else frozenset[str]()
    hidden |= OF_RNN if isinstance(owner, nn.RNNBase) else frozenset()
    hidden |= _of_optimizer() if isinstance(owner, Optimizer) else frozenset()
    return {
        key: value
        for key, value in members.items()
        if key not in hidden
        and not isinstance(getattr(kind, key, None), cached_property)
        and not any(key + end in registered for end in ORIGINALS)
    }
