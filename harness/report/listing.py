"""A table of sentences in the terminal: long ones are folded, names keep their brackets."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH = 120


def plain_console() -> Console:
    """Text as it is, 120 wide when not on a terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def show(rows: pd.DataFrame) -> None:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in rows.columns:
        table.add_column(Text(str(name)), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(text)) for text in row))
    plain_console().print(table)
