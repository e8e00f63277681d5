"""Defines the columns of a file of published figures: units, ranges and words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

KEPT, CUT, TIMES = "(0, 1]", "[0, 1)", "[1, 1000000]"
# Definitions of a paper's ratio, each with its words and its range.
SIZES = {
    "density_prunable": ("density of prunable weights", KEPT),
    "sparsity_prunable": ("sparsity of prunable weights", CUT),
    "compression_prunable": ("compression of prunable weights", TIMES),
    "parameters_left": ("fraction of all parameters left", KEPT),
    "sparsity_all": ("sparsity of all parameters", CUT),
    "compression_all": ("compression of all parameters", TIMES),
}
SPEEDS = {
    "speedup_weights": ("MAC speed-up by non-zero weights", TIMES),
    "macs_left_weights": ("fraction of MACs left by non-zero weights", KEPT),
    "macs_cut_weights": ("fraction of MACs cut by non-zero weights", CUT),
    "speedup_channels": ("MAC speed-up by removed channels", TIMES),
    "macs_left_channels": ("fraction of MACs left by removed channels", KEPT),
    "macs_cut_channels": ("fraction of MACs cut by removed channels", CUT),
}
SOURCES = {
    "data": "the authors' raw data file",
    "repo": "a table in the authors' repository",
    "text": "the paper's text",
    "coll": "a collection by other authors, second hand",
    "abs": "the abstract",
    "own": "your own figures",
}
STRUCTURES = {"unstructured", "filters", "mixed"}
RETRAININGS = {
    *("fine-tune", "weight rewinding", "learning-rate rewinding", "reinit", "from scratch"),
    *("from init", "during training", "none", "not stated"),
}
SCHEDULES = {"one-shot", "iterative", "gradual", "dynamic", "not stated"}
STATISTICS = {"mean", "median", "best", "single"}


@dataclass(frozen=True)
class Column:
    """Describes a column: the function that reads a cell, and whether a cell may be empty."""

    read: Callable[[str], Any]
    required: bool = True


def text(value: str) -> str:
    return value


def one_of(words: Mapping[str, object] | set[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(sorted(words))}")
        return value

    return read


def number(span: str, unit: str) -> Callable[[str], float]:
    def read(value: str) -> float:
        try:
            parsed = float(value)
        except ValueError:
            parsed = float("nan")
        if not inside(parsed, span):
            raise ValueError(f"must be {unit} in {span}")
        return parsed

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not value.isdecimal() or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return read


_accuracy = number("(0, 100]", "top-1 accuracy in %")
COLUMNS = {
    "paper": Column(text),  # short key
    "authors": Column(text),  # surnames
    "year": Column(whole(1980, 2100)),
    "title": Column(text),
    "venue": Column(text),
    "source": Column(one_of(SOURCES)),
    "where": Column(text),  # the table, figure or file in the paper
    "model": Column(text),
    "data": Column(text),
    "method": Column(text),
    "structure": Column(one_of(STRUCTURES)),
    "retraining": Column(one_of(RETRAININGS)),
    "schedule": Column(one_of(SCHEDULES)),
    "size": Column(number("[0, 1000000]", "a ratio"), required=False),
    "size_definition": Column(one_of(SIZES), required=False),
    "speed": Column(number("[0, 1000000]", "a ratio"), required=False),
    "speed_definition": Column(one_of(SPEEDS), required=False),
    "accuracy": Column(_accuracy),
    "std": Column(number("[0, 50]", "a standard deviation in points"), required=False),
    "n": Column(whole(1, 10_000), required=False),  # results behind accuracy and std
    "statistic": Column(one_of(STATISTICS)),  # of these n
    "dense": Column(_accuracy, required=False),
    "recipe": Column(text),
    "note": Column(text, required=False),
}
# An empty cell is NaN in these, "" in the others.
NUMBERS = {"year", "size", "speed", "accuracy", "std", "n", "dense"}


def check_ratio(row: Mapping[str, Any], name: str) -> bool:
    """True if the row has this ratio ("size" or "speed").

    Raises:
        ValueError: number or definition is missing, or the number is out of its range.
    """
    value, definition = row[name], row[f"{name}_definition"]
    if (value != value) != (definition == ""):
        raise ValueError(f"{name} and {name}_definition belong together: give both or neither")
    if definition == "":
        return False
    words, span = {**SIZES, **SPEEDS}[definition]
    if not inside(value, span):
        raise ValueError(f"{name} is a {words}, which must be in {span}, got {value:g}")
    return True


def inside(value: float, span: str) -> bool:
    """True if a value is in an interval written as a text.

    >>> inside(1, "(0, 1]"), inside(1, "[0, 1)"), inside(float("nan"), "[0, 1)")
    (True, False, False)
    """
    low, high = (float(end) for end in span[1:-1].split(","))
    above = low < value if span[0] == "(" else low <= value
    below = value < high if span[-1] == ")" else value <= high
    return above and below
