"""Builds HTML tables that a keyboard can scroll and a script can sort, with escaped text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """Holds a cell: its text, the number that sorts it (else the text), and a heat of 0 to 1.

    best: True for a text in bold.
    """

    text: str
    sorts: float | None = None
    heat: float | None = None
    best: bool = False

    def html(self) -> str:
        sorts = "" if self.sorts is None else f' data-sorts="{self.sorts:.8g}"'
        heat = "" if self.heat is None else f' style="--heat:{100 * self.heat:.0f}%"'
        best = ' class="best"' if self.best else ""
        return f"<td{best}{sorts}{heat}>{escape(self.text)}</td>"


@dataclass(frozen=True)
class Row:
    """Holds a row: its first cell `head`, and the `label` of the method that hides the row."""

    head: str
    cells: Sequence[Cell | str]
    label: str | None = None

    def html(self) -> str:
        label = "" if self.label is None else f' data-label="{escape(self.label)}"'
        cells = "".join(
            cell.html() if isinstance(cell, Cell) else f"<td>{escape(cell)}</td>"
            for cell in self.cells
        )
        return f'<tr{label}><th scope="row">{escape(self.head)}</th>{cells}</tr>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Row], kind: str = "") -> str:
    """Returns a table; `kind` has its CSS classes, of which "sorts" lets the reader sort."""
    caption = caption[:1].upper() + caption[1:]
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "\n".join(row.html() for row in rows)
    # tabindex, so that a keyboard can scroll the table sideways.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def details(summary: str, content: str, opened: bool = False) -> str:
    return (
        f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{content}"
        "</details>"
    )
