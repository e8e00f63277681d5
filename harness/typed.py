"""Whether what a line of JSON holds can be what a dataclass's fields say."""

import math
from collections.abc import Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin


def finite(value: Any) -> Any:
    """The value with None for each number in it that is not finite, which JSON has no word for.

    >>> finite([1.5, float("nan"), {"a": float("inf")}])
    [1.5, None, {'a': None}]
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list) else value


class Typed:
    """Of the fields of a dataclass: plain ones, lists and dictionaries. shares: those in [0, 1]."""

    def __init__(self, of: type, shares: Sequence[str] = ()):
        annotations = {field.name: field.type for field in fields(of)}
        self._types = {name: _types(annotation) for name, annotation in annotations.items()}
        inner = {name: _inner_types(annotation) for name, annotation in annotations.items()}
        self._inner = {name: types for name, types in inner.items() if types}
        self._shares = shares

    def odd(self, row: dict[str, Any]) -> list[str]:
        """What cannot be, by field. One pass per question over a row: there are many rows.

        Raises:
            KeyError: a field that the dataclass has not.
        """
        odd = [name for name, value in row.items() if type(value) not in self._types[name]]
        odd = odd or [name for name, types in self._inner.items() if not _all(types, row.get(name))]
        if odd:
            return [f"{name} must not be {row[name]!r}" for name in odd]
        shares = [(name, row.get(name)) for name in self._shares]
        beyond = [(name, share) for name, share in shares if share and (share < 0 or share > 1)]
        return [f"{name} must be a share in [0, 1], got {share}" for name, share in beyond]


def _all(types: frozenset[type], values: list[Any] | dict[str, Any] | None) -> bool:
    inner = values.values() if isinstance(values, dict) else values or ()
    return types.issuperset(map(type, inner))


def _types(annotation: Any) -> frozenset[type]:
    """What JSON may hold for a field; a number that could not be measured may be null.

    >>> _types(str) == {str}, _types(list[str] | None) == {list, type(None)}
    (True, True)
    >>> _types(float) == {float, int, type(None)}
    True
    """
    plain = {get_origin(part) or part for part in _parts(annotation)}
    return frozenset(plain | {int, NoneType} if float in plain else plain)


def _inner_types(annotation: Any) -> frozenset[type]:
    """Of the values of a list or a dictionary.

    >>> _inner_types(list[str] | None), _inner_types(dict[str, int]), _inner_types(int)
    (frozenset({<class 'str'>}), frozenset({<class 'int'>}), frozenset())
    """
    inner = (get_args(part) for part in _parts(annotation))
    return next((_types(found[-1]) for found in inner if found), frozenset())


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
