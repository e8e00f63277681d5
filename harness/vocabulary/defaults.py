"""Parts that do not inherit from the base class of their family: duck typing in one place."""

from typing import Any


def with_defaults(base: type, part: Any) -> Any:
    """The part itself, if it inherits from the base class; else one like it, that has the base's
    attributes and methods where the part has none.

    >>> class Shape:
    ...     sides = 0
    >>> class Square:
    ...     name = "square"
    >>> found = with_defaults(Shape, Square())
    >>> found.name, found.sides, type(found).__name__
    ('square', 0, 'Square')
    """
    if isinstance(part, base):
        return part
    public = (name for name in dir(base) if not name.startswith("_"))
    own = {name: _of_part(name) for name in public if hasattr(part, name)}
    more = {"__module__": type(part).__module__, "__getattr__": lambda self, n: getattr(part, n)}
    kind: Any = type(type(part).__name__, (base,), {**own, **more})
    kind.__abstractmethods__ = frozenset()
    found = object.__new__(kind)
    object.__setattr__(found, "_part", part)
    return found


def _of_part(name: str) -> property:
    return property(lambda self: getattr(self._part, name))
