"""Draws the figures for print, as PNG and PDF: accuracy, its change against dense, and ranks."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from harness.report.figures import lines, rank_figure
from harness.report.figures.dots import dots, has_one_compression
from harness.report.figures.lines import Measure
from harness.report.figures.sheet import Sheet, plain, sheet, write
from harness.report.figures.styles import LineStyle, line_styles, method_styles
from harness.report.paper import Paper
from harness.report.read.survey import Section, Survey
from harness.task.shared.measures import TOP1

Styles = dict[str, LineStyle]

# Text stays text in a PDF, and equal records give equal bytes.
_SETTINGS: dict[Any, object] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "pruning",
    **dict.fromkeys(
        ("figure.titlesize", "axes.titlesize", "axes.labelsize", "legend.fontsize"), "medium"
    ),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), "medium"),
}


@dataclass(frozen=True)
class Drawn:
    """Holds the files written, and the diagrams for the page."""

    files: list[Path]
    diagrams: dict[str, str]  # <svg> of average ranks, by their title


def draw_all(survey: Survey, out: Path) -> Drawn:
    """Draws all figures; called in a process of its own, because matplotlib is slow."""
    files = write_figures(survey, out)
    return Drawn(files, {ranks.title: rank_figure.to_svg(ranks) for ranks in survey.ranks})


def write_figures(survey: Survey, out: Path) -> list[Path]:
    """Writes the figures of each model and data set as PNG and PDF.

    accuracy-* has a panel per measured axis. change-* shows points gained or lost against the dense
    model of the same seed. ranks-* is the critical-difference diagram. Where all results are of one
    compression, the first two have a row per method instead.
    """
    paper, styles = survey.paper, method_styles(survey.labels())
    shown = {label: styles[label] for label in paper.methods or styles}
    with matplotlib.rc_context({**_SETTINGS, "font.size": paper.font}):
        return [
            path
            for section in survey.sections()
            for draw in (_accuracy, _change, _ranks)
            for path in draw(section, shown, paper, out)
        ]


def _accuracy(section: Section, styles: Styles, paper: Paper, out: Path) -> list[Path]:
    name = "accuracy" if section.measure == TOP1 else section.measure.name
    path, measure = out / f"{name}-{section.slug}", lines.primary(section.measure)
    # Published results lie at compressions of their own.
    if paper.panels is None and has_one_compression(section) and section.published.empty:
        return dots(section, measure, styles, paper).save(path)
    axes = _axes(section, paper)
    if not axes:
        return []
    drawn = sheet(paper, plain(section.caption), len(axes))
    for panel, axis in zip(drawn.panels, axes, strict=True):
        for _, row in section.dense.iterrows():
            height, label = measure.factor * row["top1_fraction_mean"], plain(row["label"])
            panel.axhline(height, color=lines.DENSE_COLOUR, linewidth=1, label=label)
        _draw(panel, section, axis, styles, measure)
        _published(panel, section, axis)
        _scale(drawn, panel, axis, lines.reached(axis, section.pruned, section.published))
        drawn.label(plain(axis.full_title), measure.title, panel)
    return drawn.save(path)


def _axes(section: Section, paper: Paper) -> list[lines.Axis]:
    measured = {axis.name: axis for axis in lines.measured(section.pruned)}
    return [measured[name] for name in paper.panels or measured if name in measured]


def _published(panel: Axes, section: Section, axis: lines.Axis) -> None:
    """Draws published results as hollow markers; published.csv lists them."""
    if not axis.published or section.published.empty:
        return
    for label, look in line_styles(section.published_labels()).items():
        rows = section.published[section.published["label"] == label]
        x, y = rows[f"{axis.name}_ratio"], 100 * rows["top1_fraction_mean"]
        panel.plot(
            x,
            y,
            marker=look.marker[0],
            markerfacecolor="none",
            linestyle="",
            color=look.colour,
            label=plain(label),
        )


def _change(section: Section, styles: Styles, paper: Paper, out: Path) -> list[Path]:
    path, measure = out / f"change-{section.slug}", lines.change(section.measure)
    if section.pruned["change_points_mean"].isna().all():
        return []
    if paper.panels is None and has_one_compression(section):
        return dots(section, measure, styles, paper).save(path)
    axes = [axis for axis in _axes(section, paper) if axis.ratio]
    if not axes:
        return []
    drawn = sheet(paper, plain(section.caption), len(axes))
    for panel, axis in zip(drawn.panels, axes, strict=True):
        panel.axhline(0, color=lines.DENSE_COLOUR, linewidth=1)
        _draw(panel, section, axis, styles, measure)
        _scale(drawn, panel, axis, lines.reached(axis, section.pruned, section.published[:0]))
        drawn.label(plain(axis.full_title), measure.title, panel)
    return drawn.save(path)


def _ranks(section: Section, styles: Styles, paper: Paper, out: Path) -> list[Path]:
    if section.ranks is None:
        return []
    figure = Figure(figsize=rank_figure.size(section.ranks, paper))
    rank_figure.draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)), section.ranks, paper)
    return write(figure, out / f"ranks-{section.slug}")


def _draw(
    panel: Axes, section: Section, axis: lines.Axis, styles: Styles, measure: Measure
) -> None:
    size = matplotlib.rcParams["font.size"]
    for label, line in lines.lines(section.pruned, axis, measure, styles):
        look = styles[label]
        panel.errorbar(
            line["x"],
            line["y"],
            yerr=line["error"],
            xerr=line[["less", "more"]].to_numpy().T if axis.ends else None,
            label=plain(label),
            color=look.colour,
            marker=look.marker[0],
            linestyle=(0, look.dash) if look.dash else "-",
            linewidth=0.13 * size,
            markersize=0.5 * size,
            capsize=0.25 * size,
        )
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _scale(drawn: Sheet, panel: Axes, axis: lines.Axis, values: Iterable[float]) -> None:
    if not axis.ratio:
        # Not the 1e11 beside an axis that matplotlib writes by default.
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_major_locator(MaxNLocator(drawn.most_ticks))
        return
    values = list(values)
    marks = lines.ticks(values)
    panel.set_xscale("log", base=2)
    panel.set_xlim(*lines.span(marks, values))
    shown = marks[:: ceil(len(marks) / drawn.most_ticks)]
    panel.set_xticks(shown, [f"{mark:g}x" for mark in shown])
