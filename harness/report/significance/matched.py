"""Matches two surveys: runs by their hash, results by method and requested compression."""

from dataclasses import fields
from typing import Any

import pandas as pd

from harness.report.read.survey import Survey
from harness.run_folder.records import Record

_REQUESTED = ["model", "data", "requested"]
# Names are no results: a label can be set anew, and a report may add settings to a name.
_NAMES = ("schema", "label", "model", "data")
_FIELDS = [field.name for field in fields(Record) if field.name not in _NAMES]
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
    Dense models are matched by their label. The right results get the left names of models and
    data sets.
    """
    common = set(left["setting"]) & set(right["setting"]) - {""}
    return _with_line(left, common), _with_line(_renamed(right, left, common), common)


def _renamed(right: pd.DataFrame, left: pd.DataFrame, common: set[str]) -> pd.DataFrame:
    """Gives the models and data sets of common settings the names that they have in `left`."""
    for part in ("model", "data"):
        key = ["setting", f"recorded_{part}"]
        names = left.loc[left["setting"].isin(common), [*key, part]].drop_duplicates(key)
        pairs = right[[*key, part]].merge(names, on=key, suffixes=("", "_left"))
        renamed = dict(zip(pairs[part], pairs[f"{part}_left"], strict=True))
        right = right.assign(**{part: right[part].replace(renamed)})
    return right


def _with_line(results: pd.DataFrame, common: set[str]) -> pd.DataFrame:
    results = results.assign(label=results["recorded_label"])
    single = results.groupby([*_REQUESTED, "label"])["setting"].transform("nunique") == 1
    lines = [
        setting if setting in common else label if is_single else f"{label} [{setting}]"
        for setting, label, is_single in zip(
            results["setting"], results["label"], single, strict=True
        )
    ]
    return results.assign(line=lines)
