"""Two surveys brought together: runs by their hash, results by what was requested for."""

import re
from dataclasses import fields
from typing import Any

import pandas as pd

from harness.report.read.survey import Survey
from harness.run_folder.records import Record

_REQUESTED = ["model", "data", "requested"]
_FIELDS = [field.name for field in fields(Record) if field.name != "schema"]
StageKey = tuple[int, str]


def identical_runs(one: Survey, other: Survey) -> tuple[int, int]:
    """How many runs (by hash) are in both, and of how many all records are equal."""
    left, right = _by_run(one.records), _by_run(other.records)
    common = left.keys() & right.keys()
    return len(common), sum(_equal(left[run], right[run]) for run in common)


def _by_run(records: pd.DataFrame) -> dict[str, dict[StageKey, dict[str, Any]]]:
    found: dict[str, dict[StageKey, dict[str, Any]]] = {}
    # A run that lies in two folders counts once, as in the results.
    for row in records.sort_values("folder", kind="stable").to_dict("records"):
        stages = found.setdefault(str(row["run"]), {})
        stages.setdefault((row["level"], row["stage"]), {name: row[name] for name in _FIELDS})
    return found


def _equal(one: dict[StageKey, dict[str, Any]], other: dict[StageKey, dict[str, Any]]) -> bool:
    return one.keys() == other.keys() and all(
        _same(value, other[place][name])
        for place, row in one.items()
        for name, value in row.items()
    )


def _same(one: Any, other: Any) -> bool:
    gone = [not isinstance(value, dict | list) and bool(pd.isna(value)) for value in (one, other)]
    if any(gone):
        return all(gone)
    return bool(one == other)


def with_lines(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results of both with `line`: equal where they are one method's under comparison.

    Settings that both have are one line each; otherwise it is the label, where it has one setting
    on each side. Dense networks go by their label.
    """
    common = set(one["setting"]) & set(other["setting"]) - {""}
    return _with_line(one, common), _with_line(other, common)


def _with_line(results: pd.DataFrame, common: set[str]) -> pd.DataFrame:
    plain = [_plain(*pair) for pair in zip(results["label"], results["setting"], strict=True)]
    results = results.assign(label=plain)
    alone = results.groupby([*_REQUESTED, "label"])["setting"].transform("nunique") == 1
    lines = [
        setting if setting in common else label if one else f"{label} [{setting}]"
        for setting, label, one in zip(results["setting"], plain, alone, strict=True)
    ]
    return results.assign(line=lines)


def _plain(label: str, setting: str) -> str:
    """Without the start of the setting that tells several settings of one label apart.

    >>> _plain("SNIP [aaaa]", "aaaab1"), _plain("SNIP [2]", "aaaab1")
    ('SNIP', 'SNIP [2]')
    """
    found = re.fullmatch(r"(.*) \[([0-9a-z]{4,})\]", label, flags=re.DOTALL)
    return found[1] if found and setting.startswith(found[2]) else label
