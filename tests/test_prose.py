"""Docstrings begin with a sentence that has a verb, or with a formula."""

from pathlib import Path

import pytest
from conftest import ROOT, cases
from docstrings import Docstring, begins_well, docstrings


def _first(text: str, kind: str = "function") -> Docstring:
    return Docstring("a.py:1", kind, "name", text)


@pytest.mark.parametrize("folder", ["harness", "scripts", "tests", "examples"])
def test_docstrings_begin_with_a_verb_or_a_formula(folder) -> None:
    odd = [found for found in docstrings(ROOT, folder) if not begins_well(found)]

    assert odd == [], "\n".join(f"{found.place} {found.name}: {found.first}" for found in odd)


@cases(
    "kind, text",
    ("function", "The mean of all ranks."), ("function", "Whether all are finite."),
    ("function", "Of the runs, those that have ended."), ("function", "Raises: ValueError: odd."),
    ("function", "Names of all layers."), ("function", "Steps from the beginning."),
    ("function", ">>> 1 + 1"), ("class", "A list of events."), ("module", "Masks on ranks."),
    ("class", "What enters is made of the weight."), ("class", "Of a stem that has a part."),
    ("class", "Where the counting ends."), ("class", "As a pipe whose reader has gone."),
)  # fmt: skip
def test_a_first_line_without_a_verb_is_named(kind, text) -> None:
    assert not begins_well(_first(text, kind))


@cases(
    "kind, text",
    ("function", "Returns the mean of all ranks."), ("function", "True if all are finite."),
    ("function", "score = |w|, higher stays."), ("class", "w^2 / 2, per weight."),
    ("module", "The report reads records only."), ("class", "Keeps the masks of one model."),
)  # fmt: skip
def test_a_sentence_and_a_formula_are_no_fault(kind, text) -> None:
    assert begins_well(_first(text, kind))


def test_docstrings_of_all_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        '"""One."""\nclass A:\n    """Two."""\n    def f(self): "Three."\n'
    )

    assert [(found.kind, found.first) for found in docstrings(tmp_path, ".")] == [
        ("module", "One."), ("class", "Two."), ("function", "Three."),
    ]  # fmt: skip
