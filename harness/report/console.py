"""Prints texts and tables in the terminal, and writes CSV files."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.system.command_line import discard_output
from harness.system.names import printable

_PLAIN_WIDTH = 120
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a formula in a spreadsheet


class _PipeConsole(Console):
    def on_broken_pipe(self) -> None:
        """Stops printing when the reader, such as head, has closed the pipe; files follow."""
        self.quiet = True
        discard_output()


def plain_console() -> Console:
    """Returns a console without markup, 120 columns wide when not on a terminal."""
    console = _PipeConsole(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def to_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Writes a table as CSV without formulas for spreadsheets.

    A text that begins like a formula gets an apostrophe in front. Numbers stay as they are.
    """
    texts = table.select_dtypes(exclude="number").columns
    safe = table.assign(**{name: table[name].map(_no_formula) for name in texts})
    safe.rename(columns=_no_formula).to_csv(path, index=False, float_format=float_format)


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(FORMULA) else printable(value)


def print_text(text: str) -> None:
    """Prints one or several lines without folding them."""
    plain_console().print(text, soft_wrap=True)


def print_table(rows: pd.DataFrame) -> None:
    """Prints a table, and folds long cells."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in rows.columns:
        table.add_column(Text(str(name)), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(text)) for text in row))
    plain_console().print(table)
