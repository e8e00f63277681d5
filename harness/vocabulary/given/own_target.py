"""Imports and calls functions and classes that a user names as pkg.module:factory."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from harness.vocabulary.given.errors import first_line


def import_target(key: str, target: str) -> Callable[..., Any]:
    """Returns the function or class that a target names.

    Raises:
        ValueError: it cannot be imported, or is none.
    """
    module, colon, path = target.partition(":")
    if not (module and colon and path):
        raise ValueError(f"{key}={target} must be written as pkg.module:factory, with a colon")
    try:
        value: Any = import_module(module)
        for name in path.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{key}={target} cannot be imported ({first_line(error)}); start where the module "
            "lies, or set PYTHONPATH"
        ) from error
    if not callable(value):
        raise ValueError(f"{key}={target} is no function or class; name one")
    return value  # type: ignore[no-any-return]


def check_arguments(
    key: str, target: str, factory: Callable[..., Any], arguments: Mapping[str, Any]
) -> None:
    """Checks that a function takes these arguments.

    Raises:
        ValueError: it needs others.
    """
    group = key.partition(".")[0]
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{key}={target} is called with {', '.join(arguments) or 'nothing'}: "
            f"{first_line(error)}; give what is missing in {group}.options"
        ) from error
