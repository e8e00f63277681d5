"""Builds the section of one model and data set: its charts, tables and drawings."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import pandas as pd

from harness.report.figures.lines import AXES, measured, reached
from harness.report.figures.styles import LineStyle, line_styles
from harness.report.page import charts, heat, numbers
from harness.report.page.chart_rows import rows
from harness.report.page.charts import Spec
from harness.report.page.legend import legend
from harness.report.page.run_details import run_rows
from harness.report.read.survey import Ranks, Section
from harness.system.json_schema import parse_json
from harness.task.shared.measures import TOP1, Measure

INTERVAL = "; its bars reach from the first to the third quartile of a pass, over all seeds"
CAPTIONS = {
    **{
        axis.name: f"Top-1 accuracy against {axis.title[0].lower()}{axis.title[1:]}"
        for axis in AXES
    },
    "change": "Change of top-1 against the dense model of the same seed",
    "loss": "Training loss by epoch",
    "learning": "Validation accuracy by epoch",
    "layers": "One layer pruned alone",
}


@dataclass(frozen=True)
class PageSection:
    """Builds one section of the page.

    styles: of the section's methods. curves: learning curves of the section.
    """

    number: int
    section: Section
    styles: dict[str, LineStyle]
    curves: pd.DataFrame

    @property
    def id(self) -> str:
        return f"section-{self.number}"

    @cached_property
    def charts(self) -> dict[str, Spec]:
        return {name: _titled(spec, self.section.measure) for name, spec in _charts(self)}

    @property
    def data(self) -> dict[str, Any]:
        """Returns the data of the section's charts and of its table of runs."""
        return {
            "rows": rows(self.section, self.curves),
            "charts": self.charts,
            "runs": run_rows(self.section.results),
            "measure": {"title": self.section.measure.axis, "factor": self.section.measure.factor},
        }

    def html(self, against: str | None, diagrams: Mapping[str, str]) -> str:
        section = self.section
        parts = [
            f"<h2>{escape(section.title)}</h2>",
            *(f"<p>{escape(line)}</p>" for line in numbers.dense_lines(section)),
            legend(
                "Methods",
                self.styles,
                _legend_note(section),
                line_styles(section.published_labels()),
            ),
            f'<div class="charts">{"".join(_figure(self, name) for name in self.charts)}</div>',
            *numbers.tables(section, against),
            *(average_ranks(section.ranks, diagrams) if section.ranks else ()),
            *heat.densities(section),
            *heat.overlaps(section),
            _runs(self.number),
        ]
        return f'<section id="{self.id}">' + "\n".join(parts) + "</section>"


def _charts(page_section: PageSection) -> Iterator[tuple[str, Spec]]:
    section, styles = page_section.section, page_section.styles
    axes, dense = measured(section.pruned), not section.dense.empty
    published = line_styles(section.published_labels())
    for axis in axes:
        values = reached(axis, section.pruned, section.published)
        yield axis.name, charts.accuracy(axis, values, styles, dense, published, section.measure)
    if section.pruned["change_points_mean"].notna().any():
        ratios = section.pruned[AXES[0].column]
        yield "change", charts.change(AXES[0], ratios, styles, section.measure)
    if not page_section.curves.empty:
        yield "loss", charts.curve("loss", "Training loss", styles)
        yield "learning", charts.curve("top1_percent", _validation_title(section), styles)


def _titled(spec: Spec, measure: Measure) -> Spec:
    """Returns a chart whose tooltips name the primary measure."""
    if measure == TOP1:
        return spec
    text = json.dumps(spec).replace('"Top-1, %"', json.dumps(measure.axis))
    renamed: Spec = parse_json(text.replace('"Against dense, points"', json.dumps(measure.change)))
    return renamed


def _validation_title(section: Section) -> str:
    named = section.measure != TOP1
    return f"Validation: {section.measure.axis}" if named else "Validation top-1, %"


def _caption(section: Section, name: str) -> str:
    if section.measure == TOP1:
        return CAPTIONS[name]
    if name == "learning":
        return f"{section.measure.axis} on validation data by epoch"
    if name == "change":
        return f"{section.measure.change}, of the same seed"
    return CAPTIONS[name].replace("Top-1 accuracy", section.measure.axis)


def _figure(page_section: PageSection, name: str) -> str:
    is_curve = name in ("loss", "learning")
    chosen = _choice(page_section.curves) if is_curve else ""
    caption = _caption(page_section.section, name)
    spread = f": mean{'' if is_curve else ' ± std'} over seeds, {page_section.section.seeds}"
    spread += "".join(
        f"; measured with {escape(axis.where)}{INTERVAL if axis.ends else ''}"
        for axis in measured(page_section.section.pruned)
        if axis.name == name and axis.where
    )
    return (
        f"<figure><figcaption>{escape(caption)}{spread}</figcaption>{chosen}"
        f'<div class="chart" data-chart="{name}" data-section="{page_section.id}"></div></figure>'
    )


def _choice(curves: pd.DataFrame) -> str:
    requested = sorted(set(curves["requested"]))
    last = requested[-1]  # where methods differ most
    options = "".join(
        f'<option value="{ratio:.6g}"{" selected" if ratio == last else ""}>{ratio:.4g}x</option>'
        for ratio in requested
    )
    return f'<label>Requested compression <select class="requested">{options}</select></label>'


def _legend_note(section: Section) -> str:
    dense = " Grey line: dense." if len(section.dense) else ""
    return (
        f"What was {escape(section.scope)}. Broad grey band: Pareto front; bars: one standard "
        f"deviation over seeds.{dense} "
        "A click on a point shows its runs; by keyboard: Tab to a chart, arrow keys, Enter."
    )


def average_ranks(ranks: Ranks, diagrams: Mapping[str, str]) -> Iterator[str]:
    caption = ranks.caption()
    yield "<h3>Average ranks</h3>"
    yield f"<p>{escape(caption[:1].upper() + caption[1:])}.</p>"
    yield f'<div class="diagram">{diagrams[ranks.title]}</div>'


def _runs(number: int) -> str:
    """Returns an empty table of runs; the script fills it, because a survey may have thousands."""
    return (
        f'<h3 id="runs-{number}">Runs</h3><label>Filter <input type="search" class="runs-find" '
        'placeholder="method, 16x, seed 0"></label> <output></output>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs">'
        '<table class="sorts runs"></table></div>'
    )
