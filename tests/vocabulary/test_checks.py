import math
from dataclasses import dataclass
from typing import Annotated

import pytest
from omegaconf import OmegaConf

from harness.vocabulary.checks import check, check_declared, check_known, follows, problem_of


@pytest.mark.parametrize(
    "rule, right, wrong",
    [
        ("in [0, 1]", (0, 0.5, 1), (-0.1, 1.1, True, "0.5", None, math.nan)),
        ("in (0, 1)", (0.5,), (0, 1)),
        ("in [0, 1)", (0,), (1,)),
        ("in (0, 1]; write e.g. 0.3", (1,), (0, 0.0, 2)),
        ("a finite number above 0", (1e-9, 3), (0, -1, math.inf, math.nan, False)),
        ("a number of at least 1 or null", (1, 1.5, None), (0.99, math.inf)),
        ("a whole number >= 1", (1, 2**63 - 1), (0, 1.0, True, None, "1", 2**63)),
        ("a whole number of at least 1 (optimizer steps)", (1,), (0,)),
        ("an integer of at least 2", (2,), (1, 2.5)),
        ("true or false", (True, False), (0, 1, None, "true")),
    ],
)
def test_a_rule_means_what_its_words_say(rule, right, wrong) -> None:
    assert [value for value in right if not follows(value, rule)] == []
    assert [value for value in wrong if follows(value, rule)] == []


def test_a_rule_in_words_that_are_not_known_is_no_rule() -> None:
    with pytest.raises(AssertionError, match="no bound is read from a number of 'below 3'"):
        follows(5, "below 3")


@dataclass
class Cut:
    every: Annotated[int, "a whole number >= 1"] = 0


def test_who_breaks_a_rule_reads_key_rule_value_and_way_out() -> None:
    with pytest.raises(ValueError, match=r"^a must be in \[0, 1\], got 5; is it a percentage\?$"):
        check("a", 5, "in [0, 1]", "; is it a percentage?")
    with pytest.raises(ValueError, match=r"^cut\.every must be a whole number >= 1, got 0$"):
        check_declared(Cut(), "cut.")
    with pytest.raises(ValueError, match=r"^mode must be one of on, off, got \[\]$"):
        check_known("mode", [], ("on", "off"))


EPOCHS = Annotated[list[Annotated[int, "a whole number >= 0; write [1]"]], "not empty"]


@pytest.mark.parametrize(
    "hint, right, wrong, says",
    [
        (
            EPOCHS,
            ([0], (1, 2), OmegaConf.create([3])),
            ([], [-1], 1, "1"),
            "a list of whole numbers >= 0, not empty, got",
        ),
        (
            Annotated[str, "text of 1 to 3 characters"],
            ("a", "abc"),
            ("", "abcd", 2, None),
            "text of",
        ),
        (
            dict[str, Annotated[float, "a number in [0, 1]"]],
            ({}, {"a": 1}),
            ({"a": 2}, [1]),
            "a map",
        ),
    ],
)
def test_a_declaration_says_how_long_a_value_is_and_what_it_holds(hint, right, wrong, says) -> None:
    assert [problem_of(value, hint) for value in right] == [None] * len(right)
    assert all(str(problem_of(value, hint)).startswith(f"must be {says}") for value in wrong)
