"""Hides values of environment variables that a config names in all output of a run."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO

from harness.system.names import printable

REFERENCE = re.compile(r"\$\{oc\.env:([^\W\d]\w*)\}")
SHORT = 4  # shorter values are hidden as whole words only, such as 6 in "got 6"
HIDES = "hides_values_of_variables"  # attribute of a redacting stream

_names: set[str] = set()  # variables that this process has read for a config


def hide_variable(name: str) -> None:
    """Hides the value of this environment variable from now on, also on stderr."""
    _names.add(name)
    _hide_on(sys.stderr)


def redact(text: str, shortest: int = 1) -> str:
    """Returns the text with ${oc.env:NAME} for each value of a hidden variable.

    Values have at least `shortest` characters and are read now: an unset variable hides nothing.
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
    """Returns the text with the value of each ${oc.env:NAME} whose variable is set."""
    return REFERENCE.sub(lambda match: os.environ.get(match[1], match[0]), text)


def _hide_on(stream: TextIO | None) -> None:
    """Redacts all output of a stream, such as tracebacks and warnings.

    Values of fewer than SHORT characters stay, because progress is full of such numbers.
    """
    if stream is None or hasattr(stream, HIDES):
        return
    plain = stream.write
    setattr(stream, HIDES, True)
    stream.write = lambda text: plain(redact(text, SHORT))  # type: ignore[method-assign]


def has_reference(value: Any) -> bool:
    """Returns True if a stored value contains the name of a variable instead of its value."""
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
    """Yields the forms of a value in errors: plain, quoted, on one line, or as a number or list."""
    flat = " ".join(value.split())
    in_repr = value.replace("\\", "\\\\").replace("'", "\\'")
    forms = [value, repr(value)[1:-1], in_repr, json.dumps(value)[1:-1], flat, printable(flat)]
    with suppress(ValueError, RecursionError):
        forms.append(str(json.loads(value)))
    yield from (form for form in forms if form.strip())
