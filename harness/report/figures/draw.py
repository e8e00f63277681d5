"""Draws the figures for print, as PNG and PDF: accuracy, its change against dense, and ranks."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures import lines, rank_figure
from harness.report.read.survey import Section, Survey

# Text stays text in a PDF, and equal records give equal bytes.
_SETTINGS: dict[Any, object] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "pruning",
}
# In inches: a row of the legend, the space beside a name, and a letter of a name.
_ROW, _BESIDE, _LETTER = 0.21, 0.7, 0.09
_MOST_COLUMNS = 4
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}


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
    model of the same seed. ranks-* is the critical-difference diagram.
    """
    styles = lines.line_styles(survey.labels())
    with matplotlib.rc_context(_SETTINGS):
        return [
            path
            for section in survey.sections()
            for draw in (_accuracy, _change, _ranks)
            for path in draw(section, styles, out)
        ]


def _accuracy(section: Section, styles: dict[str, lines.LineStyle], out: Path) -> list[Path]:
    axes = lines.measured(section.pruned)
    if not axes:
        return []
    figure, panels = _panels(section, len(axes))
    for panel, axis in zip(panels, axes, strict=True):
        for _, row in section.dense.iterrows():
            height, label = 100 * row["top1_fraction_mean"], _plain(row["label"])
            panel.axhline(height, color=lines.DENSE_COLOUR, linewidth=1, label=label)
        _draw(panel, section, axis, styles, ("top1_fraction", 100))
        _published(panel, section, axis)
        _scale(panel, axis, lines.reached(axis, section.pruned, section.published))
    panels[0].set_ylabel(lines.ACCURACY)
    return _save(figure, panels[0], out / f"accuracy-{section.slug}")


def _published(panel: Axes, section: Section, axis: lines.Axis) -> None:
    """Draws published results as hollow markers; published.csv lists them."""
    if not axis.ratio or section.published.empty:
        return
    for label, look in lines.line_styles(section.published_labels()).items():
        rows = section.published[section.published["label"] == label]
        x, y = rows[f"{axis.name}_ratio"], 100 * rows["top1_fraction_mean"]
        panel.plot(
            x,
            y,
            marker=look.marker[0],
            markerfacecolor="none",
            linestyle="",
            color=look.colour,
            label=_plain(label),
        )


def _change(section: Section, styles: dict[str, lines.LineStyle], out: Path) -> list[Path]:
    axes = [axis for axis in lines.measured(section.pruned) if axis.ratio]
    if not axes or section.pruned["change_points_mean"].isna().all():
        return []
    figure, panels = _panels(section, len(axes))
    for panel, axis in zip(panels, axes, strict=True):
        panel.axhline(0, color=lines.DENSE_COLOUR, linewidth=1)
        _draw(panel, section, axis, styles, ("change_points", 1))
        _scale(panel, axis, section.pruned[axis.column])
    panels[0].set_ylabel(lines.CHANGE)
    return _save(figure, panels[0], out / f"change-{section.slug}")


def _ranks(section: Section, styles: dict[str, lines.LineStyle], out: Path) -> list[Path]:
    if section.ranks is None:
        return []
    figure = Figure(figsize=rank_figure.size(section.ranks))
    rank_figure.draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)), section.ranks)
    return _write(figure, out / f"ranks-{section.slug}")


def _panels(section: Section, count: int) -> tuple[Figure, list[Axes]]:
    # Not pyplot, which would keep every figure alive and need a screen.
    figure = Figure(figsize=(5.5 * count, 4.6), layout="constrained")
    figure.suptitle(_plain(f"{section.title}: mean ± std over seeds"))
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def _save(figure: Figure, first: Axes, path: Path) -> list[Path]:
    handles, labels = first.get_legend_handles_labels()
    columns = _columns(labels, figure.get_figwidth())
    # As much as the names take away from the panels.
    figure.set_figheight(figure.get_figheight() + _ROW * ceil(len(labels) / columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return _write(figure, path)


def _columns(labels: list[str], width: float) -> int:
    """Returns the number of names that fit into one row.

    >>> _columns(["SNIP", "Global Magnitude"], 5.5), _columns(["SNIP" * 20], 5.5)
    (2, 1)
    """
    longest = max(map(len, labels), default=0)
    return max(1, min(_MOST_COLUMNS, int(width / (_BESIDE + _LETTER * longest))))


def _write(figure: Figure, path: Path) -> list[Path]:
    files = [path.with_name(f"{path.name}.{kind}") for kind in _METADATA]
    for file, metadata in zip(files, _METADATA.values(), strict=True):
        figure.savefig(file, dpi=150, metadata=metadata)
        figure.set_layout_engine("none")  # the layout of the first file is kept
    return files


def _draw(
    panel: Axes,
    section: Section,
    axis: lines.Axis,
    styles: dict[str, lines.LineStyle],
    measure: tuple[str, float],
) -> None:
    for label, line in lines.lines(section.pruned, axis.column, *measure):
        look = styles[label]
        panel.errorbar(
            line["x"],
            line["y"],
            yerr=line["error"],
            label=_plain(label),
            color=look.colour,
            marker=look.marker[0],
            linestyle=(0, look.dash) if look.dash else "-",
            linewidth=1.4,
            markersize=5,
            capsize=3,
        )
    panel.set_xlabel(axis.title)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _scale(panel: Axes, axis: lines.Axis, values: Iterable[float]) -> None:
    if not axis.ratio:
        panel.set_xscale("log")
        return
    marks = lines.ticks(values)
    panel.set_xscale("log", base=2)
    panel.set_xlim(*lines.span(marks))
    panel.set_xticks(marks, [f"{mark:g}x" for mark in marks])


def _plain(text: str) -> str:
    # matplotlib reads $...$ as a formula.
    return text.replace("$", r"\$")
