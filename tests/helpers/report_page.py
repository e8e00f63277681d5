"""Reads report.html back: its tables by caption, and the data that its charts draw."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.data, self._rows, self._text = "", [[]], None  # type: ignore[var-annotated]
        self._caption, self._in_data = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            f"{tag} {name}"
            for name, value in attrs
            if name in ("src", "href", "srcset") and not str(value).startswith("#")
        ]
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th", "caption"):
            self._text = ""
        self._in_data = tag == "script" and ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text += data
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._rows[-1].append(self._text)
        if tag == "caption":
            self._caption = self._text
        if tag in ("td", "th", "caption"):
            self._text = None
        if tag == "table":
            self.tables[self._caption] = self._rows


class Page:
    """Holds a page.

    text: the source. tables: rows of cells by caption, heading first. data: of the charts.
    """

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        parser = _Tables()
        parser.feed(self.text)
        self.tags, self.loads, self.tables = parser.tags, parser.loads, parser.tables
        self.data: dict[str, Any] = json.loads(parser.data)

    @property
    def numbers(self) -> list[dict[str, str]]:
        """Returns the table of all numbers, a dict per row."""
        (caption,) = [text for text in self.tables if text.startswith("Means over seeds, n")]
        head, *rows = self.tables[caption]
        return [dict(zip(head, row, strict=True)) for row in rows]
