"""Checks rows of JSON against the fields of a dataclass."""

import math
from dataclasses import dataclass
from typing import Any

from conftest import cases

from harness.system.json_schema import JsonSchema


@dataclass
class Row:
    name: str
    count: int
    share: float
    part: float | None
    names: list[str] | None
    shares: dict[str, float]
    done: bool


GOOD: dict[str, Any] = {
    "name": "a", "count": 1, "share": 0.5, "part": None, "names": ["a"],
    "shares": {"a": 1.0, "b": 1}, "done": True,
}  # fmt: skip
TYPED = JsonSchema(Row, ["share", "part"])


@cases(
    "fits",
    {}, {"share": 1}, {"share": 0.0}, {"share": None}, {"part": 1.0}, {"names": None},
    {"names": []}, {"shares": {}}, {"shares": {"a": None}},
)  # fmt: skip
def test_what_json_may_hold_fits(fits) -> None:
    assert TYPED.invalid_fields(GOOD | fits) == []


@cases(
    "odd, said",
    ({"name": None}, "name must not be None"),
    ({"count": 1.0}, "count must not be 1.0"),
    ({"count": True}, "count must not be True"),
    ({"done": 1}, "done must not be 1"),
    ({"names": "abc"}, "names must not be 'abc'"),
    ({"names": ["a", 1]}, "names must not be ['a', 1]"),
    ({"shares": {"a": "1"}}, "shares must not be {'a': '1'}"),
    ({"share": 1.5}, "share must be a fraction in [0, 1], got 1.5"),
    ({"part": -0.1}, "part must be a fraction in [0, 1], got -0.1"),
    ({"part": math.inf}, "part must be a fraction in [0, 1], got inf"),
)
def test_what_does_not_fit_is_named(odd, said) -> None:
    assert TYPED.invalid_fields(GOOD | odd) == [said]


def test_a_field_of_a_later_version_may_be_absent() -> None:
    assert TYPED.invalid_fields({name: GOOD[name] for name in ("name", "share")}) == []
