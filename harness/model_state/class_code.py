"""Reads from the code of a module's class what its calls may change, without running it."""

import dis
import inspect
import re
import sys
from collections.abc import Hashable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

# Methods of lists, dicts and sets. In-place methods of tensors end in an underscore.
CHANGES = frozenset(
    ("append", "extend", "insert", "pop", "popitem", "popleft", "appendleft", "clear", "remove")
    + ("reverse", "sort", "update", "setdefault", "add", "discard")
)
MAKES_BUFFERS = frozenset(("register_buffer", "Buffer"))


@cache
def assigned(kind: Hashable) -> frozenset[str]:
    """Returns attributes that methods other than the constructor assign, none of torch's classes.

    >>> class Steps:
    ...     def __init__(self):
    ...         self.rate = 0.1
    ...     def forward(self):
    ...         self.calls = 1
    >>> assigned(Steps)
    frozenset({'calls'})
    """
    steps = (step for code in _codes(kind) for step in dis.get_instructions(code))
    return frozenset(step.argval for step in steps if step.opname in ("STORE_ATTR", "DELETE_ATTR"))


@cache
def changes_in_place(kind: Hashable) -> bool:
    """Returns True if methods other than the constructor may write to lists, dicts or tensors.

    >>> class Notes:
    ...     def forward(self):
    ...         self.seen[0] = 1
    >>> changes_in_place(Notes)
    True
    """
    return any(map(_changes_in_place, _codes(kind)))


def _changes_in_place(code: CodeType) -> bool:
    named = CHANGES & set(code.co_names) or any(re.search("[^_]_$", name) for name in code.co_names)
    return bool(named) or any(step.opname == "STORE_SUBSCR" for step in dis.get_instructions(code))


@cache
def makes_buffers(kind: Hashable) -> bool:
    """Returns True if methods other than the constructor register buffers.

    Methods of torch's classes do not count.
    """
    return any(MAKES_BUFFERS & set(code.co_names) for code in _codes(kind))


@cache
def is_own(module: str) -> bool:
    """Returns True if code belongs neither to Python, an installed library nor the harness.

    >>> is_own("torch.nn"), is_own("collections")
    (False, False)
    """
    top = str(module).partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return bool(file) and not {"site-packages", "dist-packages"} & set(Path(str(file)).parts)


def named_globals(function: FunctionType) -> dict[str, object]:
    """Returns globals that the function's code names, also those of user modules."""
    names = _names(function.__code__)
    values = {key: function.__globals__[key] for key in names if key in function.__globals__}
    for module in [value for value in values.values() if isinstance(value, ModuleType)]:
        if is_own(module.__name__):
            inside = sorted(vars(module).keys() & set(names))
            values |= {f"{module.__name__}.{key}": vars(module)[key] for key in inside}
    return values


@cache
def _names(code: CodeType) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for inner in _within(code) for name in inner.co_names))


def _codes(kind: Any) -> Iterator[CodeType]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] == "torch":
            continue
        for name, method in vars(base).items():
            if name != "__init__":
                yield from _within(_code(method))


def _code(method: Any) -> CodeType | None:
    function = getattr(method, "__func__", None) or getattr(method, "fget", None) or method
    return getattr(inspect.unwrap(function), "__code__", None)


def _within(code: CodeType | None) -> Iterator[CodeType]:
    """Yields the code and that of functions inside it."""
    if isinstance(code, CodeType):
        yield code
        for inner in code.co_consts:
            yield from _within(inner)


@cache
def slot_names(kind: Hashable) -> list[str]:
    """Returns the names that a class and its bases declare in __slots__."""
    declared = [vars(base).get("__slots__", ()) for base in getattr(kind, "__mro__", ())]
    names = [name for slots in declared for name in ([slots] if isinstance(slots, str) else slots)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]
