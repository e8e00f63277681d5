"""Checks values that a user writes. A rule is written in words, which the message repeats.

A field declares its rule: `epochs: Annotated[int, "a whole number >= 0; write e.g. 10"]`, with
advice after the semicolon. Its type alone is a rule as well. The rule of text or of a list says how
long it is: "text of 1 to 64 characters", "not empty".
"""

import math
import operator
import re
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

BOUNDS = {
    ">=": operator.ge,
    "at least": operator.ge,
    "above": operator.gt,
    "[": operator.ge,
    "(": operator.gt,
    "]": operator.le,
    ")": operator.lt,
}
BIGGEST = 2**63
BEFORE = re.compile(r"(>=|at least|above|\[|\() ?(\d+)")
NUMBERS = re.compile(r"(?<![-\d])\d+")
AFTER = re.compile(r"(\d+)(\]|\))")
LENGTH = re.compile(r"of (\d+) to (\d+) characters")

WORDS: dict[Any, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text",
    type(None): "null", Any: "a value",
}  # fmt: skip
UNIONS = (Union, types.UnionType)
LISTS = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)


def is_number(value: object) -> TypeGuard[float]:
    """Returns True for int and float, but not for True and False."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Returns True for a sequence, one of OmegaConf too, but not for text."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def follows(value: object, rule: str) -> bool:
    """Returns True if the value follows the rule. Text after a semicolon is advice.

    "whole number" and "integer" require an int, "true or false" a bool, all other rules a finite
    number. "or null" allows None, "or inf" infinity. A whole number has 64 bits, as in torch.

    >>> follows(1, "in (0, 1]"), follows(0, "in (0, 1]"), follows(math.inf, "a number above 0")
    (True, False, False)
    >>> [follows(value, "a whole number >= 1 or null") for value in (1, None, 0, 1.0, True)]
    [True, True, False, False, False]
    """
    words = rule.partition(";")[0]
    if value == math.inf:
        return words.endswith(" or inf")
    if value is None or words == "true or false":
        return isinstance(value, bool) or words.endswith(" or null")
    if not is_number(value):
        return False
    if not (-BIGGEST <= value < BIGGEST if isinstance(value, int) else math.isfinite(value)):
        return False
    if ("whole" in words or "integer" in words) and type(value) is not int:
        return False
    bounds = [*BEFORE.findall(words), *((sign, bound) for bound, sign in AFTER.findall(words))]
    # A rule that is not understood would accept every number.
    assert len(bounds) == len(NUMBERS.findall(words)), f"no bound is read from a number of {rule!r}"
    return all(BOUNDS[sign](value, int(bound)) for sign, bound in bounds)


def check(key: str, value: object, rule: str, remedy: str = "") -> None:
    """Raises ValueError if the value does not follow the rule.

    Raises:
        ValueError: The value of this key does not follow the rule.
    """
    if not follows(value, rule):
        words, semicolon, advice = rule.partition("; ")
        raise ValueError(f"{key} must be {words}, got {_shown(value)}{semicolon}{advice}{remedy}")


def check_known(key: str, value: object, known: Collection[object], remedy: str = "") -> None:
    """Raises ValueError if the value is not in `known`.

    Raises:
        ValueError: The value of this key is not in `known`.
    """
    if value not in list(known):
        raise ValueError(
            f"{key} must be one of {', '.join(map(str, known))}, got {_shown(value)}{remedy}"
        )


class Part:
    """Stands for a class whose objects a config builds: in a config, a mapping with `_target_`."""


def check_declared(part: Any, where: str = "") -> None:
    """Checks the fields of a dataclass object against their declarations.

    where: comes before the name of a field in messages.

    Raises:
        ValueError: a field is not what it declares.
    """
    for name, hint in _declared(part.__class__).items():
        if problem := problem_of(getattr(part, name), hint):
            raise ValueError(f"{where}{name} {problem}")


@cache
def _declared(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def problem_of(value: object, hint: Any) -> str | None:
    """Returns in words why a value is not what a hint declares, or None.

    >>> problem_of(0, Annotated[int, "a whole number >= 1; write 1"])
    'must be a whole number >= 1, got 0; write 1'
    >>> problem_of([1, "a"], list[int])
    "must be a list of whole numbers, got [1, 'a']"
    >>> problem_of(None, Literal["l1", "l2"] | None), problem_of("l3", Literal["l1", "l2"])
    (None, "must be l1 or l2, got 'l3'")
    """
    if matches(value, hint):
        return None
    rule, _, advice = rule_of(hint).partition("; ")
    if matches([value], hint):
        advice = f"write it as a list: [{value}]"
    elif near := get_close_matches(str(value), choices_of(hint), n=1):
        advice = f"did you mean {near[0]}?"
    return f"must be {rule}, got {_shown(value)}{f'; {advice}' if advice else ''}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:96]} ..."


def matches(value: object, hint: Any) -> bool:
    """Returns True if a value is what a hint declares; a class that is not known accepts all."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if value == math.inf:
            return follows(value, inner[1])
        if value is None or choices_of(hint):  # the words only say what they mean
            return matches(value, inner[0])
        return matches(value, inner[0]) and _fits(value, inner[1])
    if origin in UNIONS:
        return any(matches(value, kind) for kind in inner)
    if origin is Literal:
        return any(value == known and type(value) is type(known) for known in inner)
    if origin in LISTS:
        return is_list(value) and all(matches(each, inner[0]) for each in value)
    if origin in MAPPINGS:
        return isinstance(value, Mapping) and all(
            matches(key, inner[0]) and matches(each, inner[1]) for key, each in value.items()
        )
    if hint in (int, float, bool):
        return follows(value, WORDS[hint])
    if hint in WORDS:
        return hint is Any or isinstance(value, hint)
    return hint is not Part or (isinstance(value, dict) and "_target_" in value)


def _fits(value: object, rule: str) -> bool:
    """Returns True if a number follows the rule, or text or a list is as long as it says."""
    if not isinstance(value, Collection):
        return follows(value, rule)
    words = rule.partition(";")[0]
    limits = LENGTH.search(words)
    if limits and not int(limits[1]) <= len(value) <= int(limits[2]):
        return False
    return len(value) > 0 or "not empty" not in words


def choices_of(hint: Any) -> list[str]:
    """Returns what a Literal lists, also where it is one of several alternatives."""
    if get_origin(hint) is Literal:
        return [str(each) for each in get_args(hint)]
    origin, inner = get_origin(hint), get_args(hint)
    alternatives = inner[:1] if origin is Annotated else inner if origin in UNIONS else ()
    return [each for kind in alternatives for each in choices_of(kind)]


def rule_of(hint: Any) -> str:
    """Returns what a hint declares, in words.

    >>> rule_of(Annotated[int, "a whole number >= 1"] | None), rule_of(Literal["a", "b", "c"])
    ('a whole number >= 1 or null', 'one of a, b, c')
    >>> rule_of(list[float]), rule_of(dict[str, float]), rule_of(list[str] | None)
    ('a list of numbers', 'a mapping of numbers', 'a list of text or null')
    >>> rule_of(Annotated[list[Annotated[int, "a whole number >= 0; write [1]"]], "not empty"])
    'a list of whole numbers >= 0, not empty; write [1]'
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated and get_origin(inner[0]) in (*LISTS, *MAPPINGS):
        words, semicolon, advice = rule_of(inner[0]).partition("; ")
        return f"{words}, {inner[1]}" + ("" if ";" in inner[1] else semicolon + advice)
    if origin is Annotated:
        return str(inner[1])
    if origin in UNIONS:
        return _joined([rule_of(kind) for kind in inner])
    if origin is Literal:
        known = [str(each) for each in inner]
        return " or ".join(known) if len(known) < 3 else f"one of {', '.join(known)}"
    if origin in LISTS:
        return f"a list of {_plural(inner[0])}"
    if origin in MAPPINGS:
        return f"a mapping of {_plural(inner[1])}"
    return WORDS.get(hint, "a mapping with _target_")


def _joined(rules: list[str]) -> str:
    """Returns alternatives in words; the advice of the first stands at the end."""
    first, semicolon, advice = rules[0].partition("; ")
    return " or ".join([first, *rules[1:]]) + semicolon + advice


def _plural(hint: Any) -> str:
    """Returns the rule for several values: "a number in (0, 1]" becomes "numbers in (0, 1]"."""
    rule = rule_of(hint)
    for one in ("a whole number", "a finite number", "a number", "a value"):
        if rule.startswith(one):
            return f"{one.removeprefix('a ')}s{rule.removeprefix(one)}"
    return rule
