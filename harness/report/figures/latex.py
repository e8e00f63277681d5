"""Writes accuracy by compression as LaTeX tables (booktabs), for each model and data set."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from harness.report.read.survey import Section, Survey
from harness.report.significance.summary import by_compression
from harness.task.shared.measures import TOP1, Measure

_SPECIAL = re.compile(r"[\\&%$#_{}~^\[|<>]")
# LaTeX would read a [ at the start of a row as an argument of the row before.
_ESCAPED = {
    "[": "{[}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # In LaTeX's default font encoding, OT1, these print as a dash and Spanish marks.
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


class TableMeasure(NamedTuple):
    """Describes a measure of a table: its columns, their factor, which mean is best, its name.

    spread: what stands beside a mean: ends of an interval where the measure has them.
    """

    column: str
    factor: int
    best: Literal["min", "max"]
    name: str
    spread: str = r"mean $\pm$ standard deviation over seeds"

    def is_best(self, pruned: pd.DataFrame) -> "pd.Series[bool]":
        """Returns True for rows of a summary whose mean is the best of their compression."""
        means = pruned[f"{self.column}_mean"]
        return means == means.groupby(pruned["requested_compression_ratio"]).transform(self.best)


def primary(measure: Measure) -> TableMeasure:
    """Returns the primary measure of a section as a measure of a table."""
    name = rf"{escape(measure.title)} in \%" if measure.is_fraction else escape(measure.axis)
    best: Literal["min", "max"] = "max" if measure.higher_is_better else "min"
    return TableMeasure("top1_fraction", measure.factor, best, name)


PERPLEXITY = TableMeasure("perplexity", 1, "min", r"Test perplexity, $\exp(\mathrm{loss})$,")


SPEED = TableMeasure(
    "measured_speedup_ratio", 1, "max", "Measured speed-up", "median of passes (quartiles)"
)


def write_latex(survey: Survey, out: Path) -> list[Path]:
    return [path for section in survey.sections() for path in _write(section, out)]


def _write(section: Section, out: Path) -> Iterator[Path]:
    first = "accuracy" if section.measure == TOP1 else section.measure.name
    tables = {first: primary(section.measure)} | (
        {"perplexity": PERPLEXITY} if section.has_perplexity else {}
    )
    tables |= {"speed": SPEED} if section.has_speed else {}
    for name, measure in tables.items():
        path = out / f"{name}-{section.slug}.tex"
        path.write_text(table(section, measure), encoding="utf-8")
        yield path


def table(section: Section, measure: TableMeasure | None = None) -> str:
    """Returns mean and std over seeds, a row per method; the best means are bold.

    measure: None is the primary one.
    """
    measure = measure or primary(section.measure)
    pruned = section.pruned
    best = measure.is_best(pruned)
    pairs = zip(pruned.iterrows(), best, strict=True)
    cells = by_compression(pruned, [_cell(row, bold, measure) for (_, row), bold in pairs])
    cells = cells.fillna("--")
    seeds = ", ".join(map(str, sorted(set(pruned["seeds"]))))
    return "\n".join(
        [*_head(section, cells, seeds, measure), *map(_line, cells.itertuples()), *_FOOT]
    )


_FOOT = [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]


def _head(section: Section, cells: pd.DataFrame, seeds: str, measure: TableMeasure) -> list[str]:
    dense = "; ".join(
        f"{escape(row['label'])}: {_cell(row, False, measure)}"
        for _, row in section.dense.iterrows()
    )
    caption = f"{measure.name} on {escape(section.data)} ({escape(section.model)}), "
    caption += f"{measure.spread} ($n$ = {seeds}), "
    caption += f"by requested {section.requested_ratio}. "
    caption += f"Measured with {escape(section.measured_where)}. " if measure is SPEED else ""
    return [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}{dense or 'Dense: not trained'}.}}",
        rf"\begin{{tabular}}{{l{'r' * len(cells.columns)}}}",
        r"\toprule",
        " & ".join(["Method", *(str(times).replace("x", r"$\times$") for times in cells)]) + r" \\",
        r"\midrule",
    ]


def _line(row: tuple[str, ...]) -> str:
    label, *cells = row
    return " & ".join([escape(label), *cells]) + r" \\"


def _cell(row: "pd.Series[float]", best: bool, measure: TableMeasure) -> str:
    if not row["seeds"]:
        return "failed" if row["failed_seeds"] else "--"
    if measure is SPEED:
        return _interval(row, best)
    mean, std = (measure.factor * row[f"{measure.column}_{name}"] for name in ("mean", "std"))
    form = ".2f" if measure.factor == 100 or measure is PERPLEXITY else ".4g"
    text = f"{mean:{form}}" if pd.isna(std) else f"{mean:{form}} $\\pm$ {std:{form}}"
    if row["failed_seeds"]:
        text += f" ({row['failed_seeds']} failed)"
    return rf"\textbf{{{text}}}" if best else text


def _interval(row: "pd.Series[float]", best: bool) -> str:
    mean, low, high = (row[f"{SPEED.column}_{name}"] for name in ("mean", "low", "high"))
    if pd.isna(mean):
        return "--"
    text = f"{mean:.2f} ({low:.2f}--{high:.2f})"
    return rf"\textbf{{{text}}}" if best else text


def escape(text: str) -> str:
    r"""Escapes LaTeX's special characters.

    >>> print(escape("50% of a_b"))
    50\% of a\_b
    """
    return _SPECIAL.sub(lambda match: _ESCAPED.get(match[0], "\\" + match[0]), text)
