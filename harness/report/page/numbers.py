"""Builds the tables of a section on the page."""

from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd

from harness.report.figures import latex
from harness.report.figures.lines import AXES, iterate_rows
from harness.report.page.chart_rows import published_text
from harness.report.page.charts import number
from harness.report.page.html import Cell, Row, table
from harness.report.protocol import lint
from harness.report.read import collapse, cost
from harness.report.read.collapse import percent
from harness.report.read.survey import Section, Survey
from harness.report.significance import paired
from harness.report.significance.pareto import front
from harness.report.significance.summary import (
    by_compression,
    cell,
    measured_speedup,
    perplexity,
    points,
    times,
)
from harness.report.tables import PERPLEXITY, SPEED, CellText, dense_lines, matrix, table_title
from harness.task.shared.measures import TOP1, Measure

_SPREAD = "mean ± standard deviation (seeds)"
__all__ = ["dense_lines", "protocol", "tables"]


def tables(section: Section, against: str | None) -> Iterator[str]:
    measure = section.measure
    yield f"<h3>{escape(measure.title)} by requested {section.requested_ratio}</h3>"
    shown = "Top-1 in %" if measure == TOP1 else table_title(measure)
    yield _best_bold(f"{escape(shown)}: {_SPREAD}", section, cell, latex.primary(measure))
    if section.has_perplexity:
        yield f"<h3>Perplexity by requested {section.requested_ratio}</h3>"
        yield from (f"<p>{escape(line)}</p>" for line in dense_lines(section, perplexity))
        name = f"{PERPLEXITY.capitalize()}: {_SPREAD}"
        yield _best_bold(name, section, perplexity, latex.PERPLEXITY)
    if section.has_speed:
        yield f"<h3>Measured speed-up by requested {section.requested_ratio}</h3>"
        yield f"<p>{escape(section.measured_where)}</p>"
        yield from (f"<p>{escape(line)}</p>" for line in dense_lines(section, measured_speedup))
        yield _best_bold(SPEED.capitalize(), section, measured_speedup, latex.SPEED)
    if not section.paired.empty:
        caption = paired.title(str(against), measure)
        yield f"<h3>Against {escape(str(against))}</h3>"
        yield _by_method(caption, paired.matrix(section.paired))
    costs = cost.costs(section.dense, section.pruned)
    if not costs.empty:
        yield "<h3>Training cost</h3>"
        yield _by_method(cost.TITLE, costs)
    yield from _published(section)
    yield from _collapse(section)
    yield "<h3>All numbers</h3>"
    yield _all(section)


def _published(section: Section) -> Iterator[str]:
    if section.published.empty:
        return
    rows = [_published_row(row) for row in iterate_rows(section.published)]
    yield "<h3>Published results</h3>"
    caption = "Figures of other papers, in the ratios of this page"
    yield table(caption, _PUBLISHED, rows, "sorts numbers")


_PUBLISHED = [
    "Published",
    "Compression",
    "Speed-up",
    "Top-1, %",
    "n",
    "Dense, %",
    "Ratio as published",
    "Converted",
    "Recipe",
    "Read in",
]


def _published_row(row: Any) -> Row:
    ratios = [
        Cell(times(value), number(value)) for value in (row.compression_ratio, row.speedup_ratio)
    ]
    cells = [
        *ratios,
        Cell(published_text(row), number(row.top1_fraction_mean)),
        "-" if pd.isna(row.n) else f"{row.n:g}",
        percent(row.dense_top1_fraction),
        row.definition,
        row.converted,
        row.recipe,
        f"{row.citation}, {row.where}; {row.source}",
    ]
    return Row(row.label, cells, row.label)


def protocol(survey: Survey) -> str:
    """Returns the table of the protocol's rules and their findings."""
    findings = lint.check(survey)
    rows = [Row(row.item, [row.verdict, row.details, row.remedy]) for row in iterate_rows(findings)]
    counts = findings["verdict"].value_counts()
    verdicts = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("pass", "fail", "missing"))
    heads = ["Rule", "Verdict", "Details", "What to do"]
    shown = table("Protocol of a comparison", heads, rows, "sentences")
    return f'<section id="protocol"><h2>Protocol: {verdicts}</h2>{shown}</section>'


def _collapse(section: Section) -> Iterator[str]:
    items = "".join(f"<li>{escape(note)}</li>" for note in collapse.notes(section.pruned))
    if items:
        yield f"<h3>Collapse</h3><ul>{items}</ul>"


def _best_bold(name: str, section: Section, text: CellText, measure: latex.TableMeasure) -> str:
    """Returns a table of methods x compressions; the best means are bold, as in LaTeX."""
    cells, best = matrix(section, text), measure.is_best(section.pruned)
    flags_by_method = by_compression(section.pruned, best).eq(True)
    rows = []
    for (label, *texts), (_, *flags) in zip(
        cells.itertuples(), flags_by_method.itertuples(), strict=True
    ):
        pairs = zip(texts, flags, strict=True)
        rows.append(Row(str(label), [Cell(shown, best=bold) for shown, bold in pairs], str(label)))
    return table(f"{name}; the best means are bold", ["Method", *map(str, cells.columns)], rows)


def _by_method(caption: str, cells: pd.DataFrame) -> str:
    rows = [Row(str(label), texts, str(label)) for label, *texts in cells.itertuples()]
    return table(caption, ["Method", *map(str, cells.columns)], rows)


_HEADS = [
    "Method",
    "Requested compression",
    "Measured compression",
    "Theoretical speed-up",
    "Speed-up by latency table",
    "Measured speed-up",
    "Why it is below the theoretical one",
    "Measured latency, ms",
    "Peak memory, MiB",
    "File, MiB",
    "Top-1, %",
    "Against dense, points",
    "Relative to dense, %",
    "Right after pruning, %",
    "Top-5, %",
    "Density, %",
    "Density is of",
    "All weights kept, %",
    "Weights that connect input and output, %",
    "Units without live input or output",
    "Layers without a weight",
    "Pareto front",
]


def _all(section: Section) -> str:
    flags = front(section.pruned, AXES[0].column).tolist()
    pruned = (row for _, row in section.pruned.iterrows())
    rows = [_row(row, on_front) for row, on_front in zip(pruned, flags, strict=True)]
    caption = f"Means over seeds, {section.seeds}; click a heading to sort"
    renamed = {} if section.measure == TOP1 else _heads_of(section.measure)
    return table(caption, [renamed.get(head, head) for head in _HEADS], rows, "sorts numbers")


def _heads_of(measure: Measure) -> dict[str, str]:
    return {
        "Top-1, %": measure.axis,
        "Against dense, points": measure.change,
        "Right after pruning, %": f"{measure.axis}, right after pruning",
    }


def _row(row: "pd.Series[Any]", on_front: bool) -> Row:
    units = row["dead_units_count_mean"]
    densities = ("density_of_weights_fraction_mean", "effective_density_fraction_mean")
    cells = [
        *(Cell(times(row[name]), number(row[name])) for name in _RATIOS),
        Cell(times(row[_PREDICTED]), number(row[_PREDICTED])),
        Cell(measured_speedup(row), number(row["measured_speedup_ratio_mean"])),
        row["why_slow"],
        *(_plain(row[name], unit) for name, unit in _OF_PASSES.items()),
        Cell(cell(row), number(row["top1_fraction_mean"])),
        Cell(points(row["change_points_mean"]), number(row["change_points_mean"])),
        Cell(percent(row["relative_top1_ratio_mean"]), number(row["relative_top1_ratio_mean"])),
        Cell(cell(row, "pruned_top1_fraction"), number(row["pruned_top1_fraction_mean"])),
        Cell(cell(row, "top5_fraction"), number(row["top5_fraction_mean"])),
        Cell(percent(row["density_fraction_mean"]), number(row["density_fraction_mean"])),
        row["density_of"],
        *(Cell(percent(row[name]), number(row[name])) for name in densities),
        Cell("-" if pd.isna(units) else f"{units:.4g}", number(units)),
        row["empty_layers"],
        "yes" if on_front else "",
    ]
    return Row(row["label"], cells, row["label"])


_PREDICTED = "table_speedup_ratio_mean"
_OF_PASSES = {"latency_ms_mean": 1, "peak_bytes_mean": 2**20, "file_bytes_mean": 2**20}


def _plain(value: float, unit: int) -> Cell:
    return Cell("-" if pd.isna(value) else f"{value / unit:.4g}", number(value))


_RATIOS = ("requested_compression_ratio", "compression_ratio_mean", "speedup_ratio_mean")
