"""Pieces of HTML: tables that a keyboard can scroll and a script may sort, and escaped text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """text: as shown; sorts: by what a column is sorted, if not by the text; heat: 0 to 1."""

    text: str
    sorts: float | None = None
    heat: float | None = None

    def html(self) -> str:
        sorts = "" if self.sorts is None else f' data-sorts="{self.sorts:.8g}"'
        heat = "" if self.heat is None else f' style="--heat:{100 * self.heat:.0f}%"'
        return f"<td{sorts}{heat}>{escape(self.text)}</td>"


@dataclass(frozen=True)
class Row:
    """head: its first cell; label: the method that it belongs to, which hides it."""

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
    """kind: CSS classes; "sorts" lets the reader sort it."""
    caption = caption[:1].upper() + caption[1:]
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "\n".join(row.html() for row in rows)
    # tabindex: a keyboard can scroll it sideways.
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
