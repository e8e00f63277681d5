"""Checks values that a user writes. A rule is written in words, which the message repeats."""

import math
import operator
import re
from collections.abc import Collection
from typing import TypeGuard

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


def is_number(value: object) -> TypeGuard[float]:
    """Returns True for int and float, but not for True and False."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def follows(value: object, rule: str) -> bool:
    """Returns True if the value follows the rule. Text after a semicolon is advice.

    "whole number" and "integer" require an int, "true or false" a bool, all other rules a finite
    number. "or null" allows None. A whole number has 64 bits, as in torch.

    >>> follows(1, "in (0, 1]"), follows(0, "in (0, 1]"), follows(math.inf, "a number above 0")
    (True, False, False)
    >>> [follows(value, "a whole number >= 1 or null") for value in (1, None, 0, 1.0, True)]
    [True, True, False, False, False]
    """
    words = rule.partition(";")[0]
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
        raise ValueError(f"{key} must be {words}, got {value!r}{semicolon}{advice}{remedy}")


def check_fields(part: object, rule: str, *keys: str, remedy: str = "", where: str = "") -> None:
    """Checks the component's attributes of these names. Messages begin with `where`.

    Raises:
        ValueError: An attribute does not follow the rule.
    """
    for key in keys:
        check(where + key, getattr(part, key), rule, remedy)


def check_either(key: str, value: object, known: Collection[str]) -> None:
    """Raises ValueError if the value is none of these few.

    Raises:
        ValueError: The value of this key is not in `known`.
    """
    if value not in list(known):
        raise ValueError(f"{key} must be {' or '.join(known)}, got {value!r}")


def check_known(key: str, value: object, known: Collection[object], remedy: str = "") -> None:
    """Raises ValueError if the value is not in `known`.

    Raises:
        ValueError: The value of this key is not in `known`.
    """
    if value not in list(known):
        raise ValueError(
            f"{key} must be one of {', '.join(map(str, known))}, got {value!r}{remedy}"
        )
