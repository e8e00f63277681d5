"""A table of sentences in the terminal: long ones are folded, names keep their brackets."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.system.command_line import discard_output
from harness.system.names import visible

_PLAIN_WIDTH = 120
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # as spreadsheets know one


class _Heard(Console):
    def on_broken_pipe(self) -> None:
        """Whoever reads has enough, as head; the files are still to be written."""
        self.quiet = True
        discard_output()


def plain_console() -> Console:
    """Text as it is, 120 wide when not on a terminal."""
    console = _Heard(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def to_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Writes a table that a spreadsheet reads as text and numbers only.

    A text that it would take for a formula gets an apostrophe in front; numbers stay as they are.
    """
    texts = table.select_dtypes(exclude="number").columns
    safe = table.assign(**{name: table[name].map(_no_formula) for name in texts})
    safe.rename(columns=_no_formula).to_csv(path, index=False, float_format=float_format)


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value.startswith(FORMULA) else visible(value)


def print_text(text: str) -> None:
    """A line or several, never folded."""
    plain_console().print(text, soft_wrap=True)


def print_table(rows: pd.DataFrame) -> None:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in rows.columns:
        table.add_column(Text(str(name)), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(text)) for text in row))
    plain_console().print(table)
