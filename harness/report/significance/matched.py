"""Matches two surveys: runs by their hash, results by method and requested compression."""

import re
from dataclasses import fields
from typing import Any

import pandas as pd

from harness.report.read.survey import Survey
from harness.run_folder.records import Record

_REQUESTED = ["model", "data", "requested"]
_FIELDS = [field.name for field in fields(Record) if field.name != "schema"]
StageKey = tuple[int, str]


def identical_runs(left: Survey, right: Survey) -> tuple[int, int]:
    """Counts the runs (by hash) that are in both surveys, and those with equal records."""
    left_runs, right_runs = _by_run(left.records), _by_run(right.records)
    common = left_runs.keys() & right_runs.keys()
    return len(common), sum(_equal(left_runs[run], right_runs[run]) for run in common)


def _by_run(records: pd.DataFrame) -> dict[str, dict[StageKey, dict[str, Any]]]:
    runs: dict[str, dict[StageKey, dict[str, Any]]] = {}
    # A run that is in two folders counts once, as in the results.
    for row in records.sort_values("folder", kind="stable").to_dict("records"):
        stages = runs.setdefault(str(row["run"]), {})
        stages.setdefault((row["level"], row["stage"]), {name: row[name] for name in _FIELDS})
    return runs


def _equal(left: dict[StageKey, dict[str, Any]], right: dict[StageKey, dict[str, Any]]) -> bool:
    return left.keys() == right.keys() and all(
        _same(value, right[key][name]) for key, row in left.items() for name, value in row.items()
    )


def _same(left: Any, right: Any) -> bool:
    nulls = [not isinstance(value, dict | list) and bool(pd.isna(value)) for value in (left, right)]
    if any(nulls):
        return all(nulls)
    return bool(left == right)


def with_lines(left: pd.DataFrame, right: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds the column line to both results; rows of one method have equal lines.

    A setting that both have is a line. Any other line is a label that has one setting on each side.
    Dense models are matched by their label.
    """
    common = set(left["setting"]) & set(right["setting"]) - {""}
    return _with_line(left, common), _with_line(right, common)


def _with_line(results: pd.DataFrame, common: set[str]) -> pd.DataFrame:
    plain = [_plain(*pair) for pair in zip(results["label"], results["setting"], strict=True)]
    results = results.assign(label=plain)
    single = results.groupby([*_REQUESTED, "label"])["setting"].transform("nunique") == 1
    lines = [
        setting if setting in common else label if is_single else f"{label} [{setting}]"
        for setting, label, is_single in zip(results["setting"], plain, single, strict=True)
    ]
    return results.assign(line=lines)


def _plain(label: str, setting: str) -> str:
    """Removes the start of the setting, which distinguishes several settings of one label.

    >>> _plain("SNIP [aaaa]", "aaaab1"), _plain("SNIP [2]", "aaaab1")
    ('SNIP', 'SNIP [2]')
    """
    match = re.fullmatch(r"(.*) \[([0-9a-z]{4,})\]", label, flags=re.DOTALL)
    return match[1] if match and setting.startswith(match[2]) else label
