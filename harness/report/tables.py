"""Prints the tables of a report in the terminal, and writes its CSV files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.console import plain_console, to_csv
from harness.report.read import cost, layer_curves
from harness.report.read.survey import Section, Survey
from harness.report.significance import paired
from harness.report.significance.summary import (
    by_compression,
    cell,
    measured_speedup,
    perplexity,
)
from harness.system.names import printable
from harness.task.shared.measures import TOP1, Measure

CellText = Callable[["pd.Series[float]"], str]
PERPLEXITY = "test perplexity, exp(loss), lower is better"
SPEED = "measured speed-up, dense / left: median of passes (quartiles)"
_METHOD = "Method"
_LONGEST_LABEL = 40
_GAP = 2


def print_tables(survey: Survey) -> None:
    """Prints the tables of all sections and the notes, 120 columns wide when not on a terminal."""
    console = plain_console()
    for section in survey.sections():
        console.print(Text(section.title, style="bold"))
        by = f"mean ± std (seeds), by requested {section.requested_ratio}"
        console.print(f"{table_title(section.measure)}: {by}")
        console.print("\n".join(dense_lines(section)) + "\n")
        _print(console, matrix(section))
        if section.has_perplexity:
            console.print(f"{PERPLEXITY}: {by}")
            console.print("\n".join(dense_lines(section, perplexity)) + "\n")
            _print(console, matrix(section, perplexity))
        if section.has_speed:
            console.print(f"{SPEED}: {section.measured_where}", soft_wrap=True)
            console.print("\n".join(dense_lines(section, measured_speedup)) + "\n")
            _print(console, matrix(section, measured_speedup))
        if not section.paired.empty:
            console.print(paired.title(str(survey.against), section.measure))
            _print(console, paired.matrix(section.paired))
        if section.ranks:
            console.print(section.ranks.caption(), soft_wrap=True)
            ranks = [f"{name} {rank:.2f}" for name, rank in section.ranks.mean.items()]
            console.print(", ".join(ranks) + "\n", soft_wrap=True)
        costs = cost.costs(section.dense, section.pruned)
        if not costs.empty:
            console.print(cost.TITLE)
            _print(console, costs)
    layer_curves.print_tables(survey.sensitivity)
    for note in survey.notes:
        console.print(f"Note: {printable(note)}", soft_wrap=True)


def _print(console: Console, cells: pd.DataFrame) -> None:
    for table in _tables(cells, console.width):
        console.print(table)
        console.print()


def dense_lines(section: Section, text: CellText = cell) -> list[str]:
    if section.dense.empty:
        return ["Dense: not trained in these runs"]
    return [f"{row['label']}: {text(row)}" for _, row in section.dense.iterrows()]


def matrix(section: Section, text: CellText = cell) -> pd.DataFrame:
    """Returns top-1 as texts: methods x requested compressions.

    text: another measure's text of a row, such as `perplexity`.
    """
    texts = [text(row) for _, row in section.pruned.iterrows()]
    return by_compression(section.pruned, texts).fillna("-")


def _tables(cells: pd.DataFrame, width: int) -> Iterator[Table]:
    """Yields as few tables as fit into the width, with similar numbers of columns."""
    count = len(cells.columns)
    sizes = (-(-count // tables) for tables in range(1, count))
    size = next((size for size in sizes if _fit(cells, size, width)), 1)
    for start in range(0, count, size):
        yield _table(cells.iloc[:, start : start + size])


def _fit(cells: pd.DataFrame, size: int, width: int) -> bool:
    first = min(max(map(len, [_METHOD, *cells.index])), _LONGEST_LABEL)
    widths = [_GAP + max(map(len, [name, *column])) for name, column in cells.items()]
    chunks = (widths[start : start + size] for start in range(0, len(widths), size))
    return all(first + sum(chunk) <= width for chunk in chunks)


def _table(cells: pd.DataFrame) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    table.add_column(_METHOD, max_width=_LONGEST_LABEL)
    for compression in cells.columns:
        table.add_column(Text(compression), justify="right", no_wrap=True)
    for label, *texts in cells.itertuples():
        # As Text, because rich would read "SNIP [3f2a]" as markup.
        table.add_row(Text(label), *texts)
    return table


_NESTED = ("layers", "empty_layers", "dead_units", "measures", "validation_measures")


def write_csv(survey: Survey, out: Path) -> list[Path]:
    analyses = layer_curves.write_csv(survey.sensitivity, out)
    if survey.records.empty:
        return analyses
    summary, records = out / "summary.csv", out / "records.csv"
    to_csv(named(survey.summary, survey.measure), summary, float_format="%.8g")
    rows = survey.records if survey.measure == TOP1 else survey.records.drop(columns=_OF_CLASSES)
    nested = {name: rows[name].map(_json) for name in _NESTED}
    to_csv(rows.assign(**nested), records)
    ranks = [rank.table().reset_index().assign(over=rank.title) for rank in survey.ranks]
    optional = {
        "paired": survey.paired if survey.against is not None else None,
        "ranks": pd.concat(ranks) if ranks else None,
        "published": survey.published if not survey.published.empty else None,
    }
    optional = {
        name: None if table is None else named(table, survey.measure)
        for name, table in optional.items()
    }
    written = {out / f"{name}.csv": table for name, table in optional.items() if table is not None}
    for path, table in written.items():
        to_csv(table, path, float_format="%.8g")
    return [summary, records, *written, *analyses]


def table_title(measure: Measure) -> str:
    """Returns what a table of the measure shows.

    >>> from harness.task.shared.measures import MSE
    >>> table_title(TOP1), table_title(MSE)
    ('top-1 accuracy in %', 'MSE (lower is better)')
    """
    if measure.is_fraction:
        title = measure.title if measure.title[1:2].isupper() else measure.short
        return f"{title}{' accuracy' if measure == TOP1 else ''} in %"
    return measure.axis


def named(table: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Returns a table whose columns name the primary measure.

    >>> from harness.task.shared.measures import MSE
    >>> [*named(pd.DataFrame(columns=["top1_fraction_mean", "change_points_low"]), MSE)]
    ['mse_mean', 'change_low']
    """
    if measure == TOP1:
        return table
    unit = "_fraction" if measure.is_fraction else ""
    renamed = {
        column: column.replace("top1_fraction", f"{measure.name}{unit}")
        .replace("top1", measure.name)
        .replace("_points", "_points" if measure.is_fraction else "")
        for column in map(str, table.columns)
    }
    return table.rename(columns=renamed)


# Columns of records that tasks without classes leave empty, or that hold another measure here.
_OF_CLASSES = ["top1", "top5", "validation_top1"]


def _json(value: object) -> str:
    # The cell is empty where a record has no value.
    return json.dumps(value) if isinstance(value, list | dict) else ""
