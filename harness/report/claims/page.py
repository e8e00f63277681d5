"""Writes claims.html and claims.csv: published claims beside the verdicts of these runs."""

import shlex
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from harness.report.claims.check import check
from harness.report.claims.verdict import UNTESTED, VERDICTS
from harness.report.console import print_table, to_csv
from harness.report.read.survey import Survey

_TEMPLATE = Path(__file__).with_name("claims.html")
_STYLE = Path(__file__).parents[1] / "page" / "style.css"
# Marks differ without colour.
_MARKS = dict(zip(VERDICTS, "✓✗≈–", strict=True))


def report(survey: Survey, out: Path) -> list[Path]:
    """Prints a line per claim, and writes claims.csv and claims.html into `out`."""
    table = check(survey)
    effects = [_effect(row) for row in rows_of(table)]
    print_table(
        pd.DataFrame(
            {
                "Claim": table["claim"],
                "These runs": table["verdict"],
                "Effect, points": effects,
                "Seeds": table["seeds"],
                "Cells": table["cells"],
            }
        )
    )
    return write_page(table, survey.runs, out)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def write_page(table: pd.DataFrame, runs: Path, out: Path) -> list[Path]:
    """Writes claims.csv and claims.html, a page without scripts."""
    out.mkdir(parents=True, exist_ok=True)
    to_csv(table, out / "claims.csv", float_format="%.8g")
    rows = rows_of(table)
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8"),
        command=escape(shlex.join(["pruning-harness", "report", str(runs), "--claims"])),
        counts=_counts(table),
        overview="\n".join(_line(row) for row in rows),
        claims="\n".join(_article(row) for row in rows),
    )
    path = out / "claims.html"
    path.write_text(page, encoding="utf-8")
    return [out / "claims.csv", path]


def _counts(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    return ", ".join(f"{counts.get(name, 0)} {name}" for name in VERDICTS)


def _line(row: dict[str, Any]) -> str:
    link = f'<a href="#{row["key"]}">{escape(row["claim"])}</a>'
    return (
        f'<tr><th scope="row">{link}</th><td>{_badge(row["verdict"])}</td>'
        f"<td>{_effect(row)}</td><td>{row['seeds'] or '-'}</td><td>{row['cells'] or '-'}</td></tr>"
    )


def _badge(verdict: str) -> str:
    kind = verdict.replace(" ", "-")
    return (
        f'<span class="{kind}"><span aria-hidden="true">{_MARKS[verdict]} </span>{verdict}</span>'
    )


def _effect(row: dict[str, Any]) -> str:
    """Formats the effect of a claim and its interval.

    >>> _effect({"verdict": "supported", "effect_points": 1.0, "low": 0.5, "high": 1.5})
    '+1.00 [+0.50, +1.50]'
    """
    if row["verdict"] == UNTESTED:
        return "-"
    return f"{row['effect_points']:+z.2f} [{row['low']:+z.2f}, {row['high']:+z.2f}]"


def _article(row: dict[str, Any]) -> str:
    facts = {
        "These runs": f"{_badge(row['verdict'])}; {escape(row['detail'])}",
        "Published": f"{escape(row['published'])} ({escape(row['source'])})",
        "Where it fails": escape(row["fails"]),
        "To test it": f"<code>{escape(row['way'])}</code>",
    }
    items = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items())
    title = escape(row["claim"])
    return f'<article id="{row["key"]}"><h2>{title}</h2><dl>{items}</dl></article>'
