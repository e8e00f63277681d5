"""Hides values of environment variables that a config names in all that is said of a run."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO

from harness.system.names import printable

REFERENCE = re.compile(r"\$\{oc\.env:([^\W\d]\w*)\}")
SHORT = 4  # characters below which a value counts as a whole word only, as 6 in "got 6"
HIDES = "hides_values_of_variables"  # attribute of a stream that does

_names: set[str] = set()  # of variables that this process has read for a config


def hide_variable(name: str) -> None:
    """From now on the value of this environment variable is hidden, also on stderr."""
    _names.add(name)
    _hide_on(sys.stderr)


def redact(text: str, shortest: int = 1) -> str:
    """The text with ${oc.env:NAME} for each value, of so many characters at least, of a noted
    variable.

    Values are those of now: a variable that is not set hides nothing.
    """
    read = {name: os.environ.get(name, "") for name in sorted(_names)}
    forms = {form: name for name, value in read.items() for form in _forms(value)}
    values = {form: name for form, name in forms.items() if len(form) >= shortest}
    if not values:
        return text
    longest_first = sorted(values, key=lambda form: (-len(form), form))
    pattern = "|".join(f"({_pattern(form)})" for form in longest_first)
    return re.sub(pattern, lambda m: f"${{oc.env:{values[longest_first[_group(m)]]}}}", text)


def restore(text: str) -> str:
    """The text with the value of each ${oc.env:NAME} whose variable is set."""
    return REFERENCE.sub(lambda match: os.environ.get(match[1], match[0]), text)


def _hide_on(stream: TextIO | None) -> None:
    """Also what nobody expected is written without the values: tracebacks, whoever prints them,
    and warnings. Values of fewer than SHORT characters stay: progress is full of such numbers.
    """
    if stream is None or hasattr(stream, HIDES):
        return
    plain = stream.write
    setattr(stream, HIDES, True)
    stream.write = lambda text: plain(redact(text, SHORT))  # type: ignore[method-assign]


def has_reference(value: Any) -> bool:
    """Whether a stored value holds the name of a variable instead of what it says."""
    if isinstance(value, dict | list):
        return any(map(has_reference, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and bool(REFERENCE.search(value))


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
    found = [value, repr(value)[1:-1], in_repr, json.dumps(value)[1:-1], flat, printable(flat)]
    with suppress(ValueError, RecursionError):
        found.append(str(json.loads(value)))
    yield from (form for form in found if form.strip())
