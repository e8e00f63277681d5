"""Parses JSON, and checks rows of it against the fields of a dataclass."""

import json
import math
from collections.abc import Callable, Sequence
from functools import cached_property, reduce
from operator import or_
from typing import Annotated, Any, get_args, get_origin, get_type_hints

OUT_OF_RANGE = ("greater_than_equal", "less_than_equal")


def parse_json(text: str | bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Returns the value of a JSON text. `parse_constant` is that of json.loads.

    Raises:
        ValueError: the text is no JSON, or it is nested too deeply for Python.
    """
    try:
        return json.loads(text, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def refuse_constant(word: str) -> None:
    """Raises ValueError; json calls it for NaN and Infinity."""
    raise ValueError(f"{word} is no number")


def replace_non_finite(value: Any) -> Any:
    """Returns the value with None for each number that is not finite, which JSON cannot hold.

    >>> replace_non_finite([1.5, float("nan"), {"a": float("inf")}])
    [1.5, None, {'a': None}]
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_non_finite(item) for key, item in value.items()}
    return [replace_non_finite(item) for item in value] if isinstance(value, list) else value


class JsonSchema:
    """Checks rows of JSON against the fields of a dataclass.

    A number that could not be measured may be null, and a whole number may stand for a float.
    Nothing else is converted. `fractions` names fields in [0, 1].
    """

    def __init__(self, of: type, fractions: Sequence[str] = ()):
        self._of, self._fractions = of, fractions

    def invalid_fields(self, row: dict[str, Any]) -> list[str]:
        """Returns one message per invalid field."""
        from pydantic import ValidationError

        try:
            self._rows.validate_python(row)
        except ValidationError as error:
            beyond_range = {e["loc"][0]: e["type"] in OUT_OF_RANGE for e in error.errors()}
            return [
                _message(str(name), row[str(name)], beyond) for name, beyond in beyond_range.items()
            ]
        return []

    @cached_property
    def _rows(self) -> Any:
        # Imported here, because most commands read no records and should not wait for the import.
        from pydantic import ConfigDict, Field, TypeAdapter, with_config
        from typing_extensions import TypedDict

        hints = {name: _nullable(hint) for name, hint in get_type_hints(self._of).items()}
        hints |= {name: Annotated[hints[name], Field(ge=0, le=1)] for name in self._fractions}
        row = TypedDict("Row", hints, total=False)  # type: ignore[misc]
        return TypeAdapter(with_config(ConfigDict(strict=True))(row))


def _message(name: str, value: Any, beyond: bool) -> str:
    must = "must be a fraction in [0, 1], got" if beyond else "must not be"
    return f"{name} {must} {value if beyond else repr(value)}"


def _nullable(hint: Any) -> Any:
    """Returns the type with `float | None` for each float in it.

    >>> _nullable(dict[str, float]) == dict[str, float | None], _nullable(int)
    (True, <class 'int'>)
    """
    if hint is float:
        return float | None
    inner = tuple(map(_nullable, get_args(hint)))
    if not inner:
        return hint
    origin = get_origin(hint)
    return origin[inner] if origin in (list, dict) else reduce(or_, inner)
