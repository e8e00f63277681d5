"""Calls in a process of their own: their results, their errors, their end."""

import os
import sys

import pytest

from harness.report.aside import aside, begin
from harness.report.page.library import library


def test_a_call_goes_on_while_the_body_runs_and_gives_its_result() -> None:
    with aside("os:getpid") as first, aside("math:sqrt", 16.0) as second:
        assert first() not in (os.getpid(), os.getppid())
        assert second() == 4.0


def test_the_next_call_of_a_function_finds_its_process_again() -> None:
    found = []
    for _ in range(2):
        with aside("os:getpid") as answer:
            found.append(answer())
    assert len(set(found)) == 1


def test_what_the_function_raises_is_raised_here_and_it_can_be_called_again() -> None:
    with aside("math:sqrt", -1.0) as answer, pytest.raises(ValueError):
        answer()
    with aside("math:sqrt", 9.0) as answer:
        assert answer() == 3.0


def test_a_process_that_is_gone_is_named_with_its_status_and_replaced() -> None:
    lost = r"the process of os:_exit ended with status 7 before its work was done; "
    for _ in range(2):
        with pytest.raises(OSError, match=lost), aside("os:_exit", 7) as answer:
            answer()


def test_a_body_that_is_left_stops_the_call_and_its_result_reaches_nobody_else() -> None:
    with pytest.raises(KeyboardInterrupt), aside("subprocess:getoutput", "sleep 5; echo late"):
        raise KeyboardInterrupt
    with aside("subprocess:getoutput", "echo now") as answer:
        assert answer() == "now"


def test_a_large_argument_to_a_process_that_is_gone_is_the_same_error() -> None:
    begin("os:_exit").ask((0,))
    with (
        pytest.raises(OSError, match="ended with status 0"),
        aside("os:_exit", b" " * 2**20) as answer,
    ):
        answer()


def test_without_its_library_the_page_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(OSError, match="could not bundle Vega-Lite .*; reinstall it with pip"):
        library.__wrapped__()
