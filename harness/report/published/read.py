"""Reads files of published figures into one table; an error names file and line."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.published.schema import COLUMNS, NUMBERS, check_ratio

FIGURES = Path(__file__).with_name("figures")
_SAME = ["paper", "model", "data", "method", "size", "speed", "size_definition", "speed_definition"]


def load(*files: Path) -> pd.DataFrame:
    """Returns the published figures that come with the harness, then those of `files`: a row each.

    Columns: those of schema.COLUMNS with their types, label ("SNIP (Lee 2019)"), file, line.

    Raises:
        ValueError: a file breaks the schema, or has the same figure twice.
        OSError: a file cannot be read.
    """
    shipped = sorted(FIGURES.glob("*.csv"))
    rows = [row for path in (*shipped, *files) for row in _readable(path)]
    return pd.DataFrame(rows).astype({"n": float, "std": float, "dense": float})


def _readable(path: Path) -> list[dict[str, Any]]:
    try:
        return _rows(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from error


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, cells in cells_of(path):
        try:
            row = _typed(cells)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        first = seen.setdefault(tuple(str(row[name]) for name in _SAME), line)
        if first != line:
            raise ValueError(f"{path}, line {line}: the same figure as in line {first}; remove one")
        rows.append({**row, "label": label(row), "file": path.name, "line": line})
    if not rows:
        raise ValueError(
            f"{path} has no figures: write a line of column names and a line per figure"
        )
    if max(row["accuracy"] for row in rows) <= 1:
        raise ValueError(f"{path}: no accuracy is above 1; write top-1 in %, not as a fraction")
    return rows


def cells_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields each row with its line in the file, counted from 1.

    Before the line of column names, "# name: value" gives a column the same value in every row.
    """
    # utf-8-sig, because spreadsheets write a byte order mark.
    with path.open(encoding="utf-8-sig", newline="") as file:
        same: dict[str, str] = {}
        lines = 0
        for line in file:
            lines += 1
            if not line.startswith("#"):
                break
            name, _, value = line[1:].partition(":")
            same[name.strip()] = value.strip()
        else:
            line = ""
        names = next(csv.reader([line]), [])
        rows = csv.reader(file)
        for cells in rows:
            number = lines + rows.line_num
            if len(cells) != len(names):
                raise ValueError(
                    f"{path}, line {number}: {len(cells)} cells for {len(names)} columns; "
                    "put a text with commas into quotes"
                )
            yield number, {**same, **dict(zip(names, cells, strict=True))}


def _typed(cells: Mapping[str, str]) -> dict[str, Any]:
    unknown = cells.keys() - COLUMNS.keys()
    if unknown:
        raise ValueError(f"unknown column {sorted(unknown)[0]!r}; use: {_names()}")
    row = {name: _value(name, cells.get(name, "").strip()) for name in COLUMNS}
    if not any([check_ratio(row, "size"), check_ratio(row, "speed")]):
        raise ValueError(
            "size and speed are missing: give one of them with its definition, or both"
        )
    if row["statistic"] == "single" and row["n"] == row["n"] and row["n"] > 1:
        raise ValueError("statistic=single, but n is above 1: write n=1, or statistic=mean")
    return row


def _names() -> str:
    return ", ".join(COLUMNS)


def _value(name: str, cell: str) -> Any:
    column = COLUMNS[name]
    if not cell:
        if column.required:
            raise ValueError(f"{name} is missing")
        return float("nan") if name in NUMBERS else ""
    try:
        return column.read(cell)
    except ValueError as error:
        raise ValueError(f"{name} {error}, got {cell!r}") from None


def label(row: Mapping[str, Any]) -> str:
    """Returns the label of a figure.

    >>> label({"method": "SNIP", "authors": "Lee, Ajanthan, Torr", "year": 2019})
    'SNIP (Lee 2019)'
    """
    return f"{row['method']} ({row['authors'].split(',')[0]} {row['year']})"
