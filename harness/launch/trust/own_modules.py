"""Checks that a dotted name is defined in the modules that a user allows.

A name below such a module is not enough: all that the module imports lies below it too, such as
my_pkg.nets.torch.load or my_pkg.nets.Path.unlink.
"""

from collections.abc import Sequence
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from harness.system.names import printable

CALLABLES = (type, FunctionType, BuiltinFunctionType)


def check_defined_in(key: str, target: str, trust: Sequence[str]) -> None:
    """Checks that the target is a class or function that the trusted modules define.

    The trusted module and the modules on the path to the target are imported, as by Hydra. Every
    part of the path must be defined in a trusted module, by its `__module__`. Inherited members
    and members copied from elsewhere are refused. Imports from another trusted module are allowed.

    Raises:
        ValueError: the target is defined elsewhere, or is no class or function.
    """
    value, path = _imported(key, target.partition(".")[0]), target.partition(".")[0]
    for name in target.split(".")[1:]:
        value = _step(key, value, path, name)
        path = f"{path}.{name}"
        _check_definition(key, target, value, path, trust)
    if not isinstance(value, CALLABLES):
        raise ValueError(f"{key}={target} is no class or function; name one of {trust[0]}")


def _step(key: str, holder: Any, path: str, name: str) -> Any:
    if name.startswith("__"):
        raise ValueError(f"{key}={path}.{name} is no component; name a class or function")
    if isinstance(holder, ModuleType):
        try:
            return getattr(holder, name)
        except AttributeError:
            return _imported(key, f"{path}.{name}")
    members = vars(holder) if isinstance(holder, type) else {}
    if name not in members:
        raise ValueError(
            f"{key}={path}.{name}: {path} defines no {name}; name a class or function, or a "
            "method where it is defined"
        )
    method = members[name]
    return method.__func__ if isinstance(method, (staticmethod, classmethod)) else method


def _imported(key: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:  # a module may raise anything while it is imported
        why = printable(" ".join(f"{type(error).__name__}: {error}".split()))
        raise ValueError(
            f"{key}: {module} cannot be imported ({why}); start where it lies, or set PYTHONPATH"
        ) from error


def _check_definition(key: str, target: str, value: Any, path: str, trust: Sequence[str]) -> None:
    """Checks one part of the path; a package above a trusted module is allowed."""
    module = str(value.__name__ if isinstance(value, ModuleType) else _module_of(value))
    above = isinstance(value, ModuleType) and any(
        allowed.startswith(f"{module}.") for allowed in trust
    )
    if above or any(f"{module}.".startswith(f"{allowed}.") for allowed in trust):
        return
    if module == "None" or not isinstance(value, (ModuleType, *CALLABLES)):
        raise ValueError(f"{key}={target}: {path} is no module, class or function of {trust[0]}")
    raise ValueError(
        f"{key}={target}: {path} is not defined in {' or '.join(trust)} but in {module}; write a "
        f"function of your own around it, or allow {module} too if that is yours"
    )


def _module_of(value: Any) -> Any:
    return value.__module__ if isinstance(value, CALLABLES) else None
