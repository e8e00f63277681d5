"""Hides values of environment variables that a config names in all that is said of a run."""

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

from harness.names import visible

REFERENCE = re.compile(r"\$\{oc\.env:([^\W\d]\w*)\}")
SHORT = 4  # characters below which a value counts as a whole word only, as 6 in "got 6"

_names: set[str] = set()  # of variables that this process has read for a config


def note(name: str) -> None:
    """From now on the value of this environment variable is hidden."""
    _names.add(name)


def redacted(text: str) -> str:
    """The text with ${oc.env:NAME} for each value of a noted variable.

    Values are those of now: a variable that is not set hides nothing.
    """
    values = {form: name for name in sorted(_names) for form in _forms(os.environ.get(name, ""))}
    if not values:
        return text
    longest_first = sorted(values, key=lambda form: (-len(form), form))
    pattern = "|".join(f"({_pattern(form)})" for form in longest_first)
    return re.sub(pattern, lambda m: _reference(values[longest_first[_group(m)]]), text)


def restored(text: str) -> str:
    """The text with the value of each ${oc.env:NAME} whose variable is set."""
    return REFERENCE.sub(lambda match: os.environ.get(match[1], match[0]), text)


def hide_in_tracebacks() -> None:
    """Also an error that nobody expected is printed without the values."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_redacted


def _print_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    lines = traceback.format_exception(kind, error, trace)
    print(redacted("".join(lines)), end="", file=sys.stderr)


def refers(value: Any) -> bool:
    """Whether a stored value holds the name of a variable instead of what it says."""
    if isinstance(value, dict | list):
        return any(map(refers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and bool(REFERENCE.search(value))


def _reference(name: str) -> str:
    return f"${{oc.env:{name}}}"


def _group(match: "re.Match[str]") -> int:
    return (match.lastindex or 1) - 1


def _pattern(form: str) -> str:
    if len(form) >= SHORT:
        return re.escape(form)
    return rf"(?<![\w.]){re.escape(form)}(?!\w|\.\d)"


def _forms(value: str) -> Iterator[str]:
    """As errors may show the value: plain, quoted, on one line, or read as a number or a list."""
    flat = " ".join(value.split())
    in_repr = value.replace("\\", "\\\\").replace("'", "\\'")
    found = [value, repr(value)[1:-1], in_repr, json.dumps(value)[1:-1], flat, visible(flat)]
    with suppress(ValueError, RecursionError):
        found.append(str(json.loads(value)))
    yield from (form for form in found if form.strip())
