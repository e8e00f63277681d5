"""Adds defaults of a base class to components that do not inherit from it."""

from typing import Any


def with_defaults(base: type, part: Any) -> Any:
    """Returns the component with the base class's defaults.

    That is the component itself if it inherits from the base class. Else it is a wrapper, with the
    base's attributes and methods where the component has none.

    >>> class Shape:
    ...     sides = 0
    >>> class Square:
    ...     name = "square"
    >>> wrapped = with_defaults(Shape, Square())
    >>> wrapped.name, wrapped.sides, type(wrapped).__name__
    ('square', 0, 'Square')
    """
    if isinstance(part, base):
        return part
    public = (name for name in dir(base) if not name.startswith("_"))
    own = {name: _of_part(name) for name in public if hasattr(part, name)}
    more = {"__module__": type(part).__module__, "__getattr__": lambda self, n: getattr(part, n)}
    kind: Any = type(type(part).__name__, (base,), {**own, **more})
    kind.__abstractmethods__ = frozenset()
    wrapper = object.__new__(kind)
    object.__setattr__(wrapper, "_part", part)
    return wrapper


def _of_part(name: str) -> property:
    return property(lambda self: getattr(self._part, name))
