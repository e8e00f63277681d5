"""Draws results of one compression: a row per method, best first."""

from textwrap import fill

import matplotlib

from harness.report.figures.lines import DENSE_COLOUR, Measure, change, measured_points
from harness.report.figures.sheet import ROW, Sheet, letters, plain, sheet, width_of
from harness.report.figures.styles import LineStyle
from harness.report.paper import Paper
from harness.report.read.survey import Section


def has_one_compression(section: Section) -> bool:
    """Returns True where a line would be a single point for every method."""
    return int(section.pruned["requested_compression_ratio"].nunique()) == 1


def dots(section: Section, measure: Measure, styles: dict[str, LineStyle], paper: Paper) -> Sheet:
    """Returns a sheet with one panel: a dot with its standard deviation per method."""
    rows = measured_points(section.pruned, measure).sort_values(
        "y", ignore_index=True, ascending=section.measure.higher_is_better
    )
    at = section.pruned["requested_compression_ratio"].iloc[0]
    names, lines_of_text = _names(rows["label"].tolist(), paper)
    height = ROW * paper.em * (1.1 * lines_of_text * len(rows) + 3)
    drawn = sheet(paper, plain(f"{section.caption}, at {at:.4g}x"), 1, height)
    (panel,) = drawn.panels
    references = [("", 0.0)] if measure == change(section.measure) else _dense(section)
    for label, value in references:
        panel.axvline(value, color=DENSE_COLOUR, linewidth=1, label=plain(label))
    size = matplotlib.rcParams["font.size"]
    for place, (_, row) in enumerate(rows.iterrows()):
        look = styles[row["label"]]
        panel.errorbar(
            row["y"],
            place,
            xerr=row["error"],
            color=look.colour,
            marker=look.marker[0],
            markersize=0.6 * size,
            capsize=0.25 * size,
        )
    panel.set_yticks(range(len(rows)), names, multialignment="right")
    panel.set_ylim(-0.6, len(rows) - 0.4)
    panel.margins(x=0.08)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(fill(measure.title, letters(width_of(paper, 1) / 2, paper)))
    return drawn


def _names(labels: list[str], paper: Paper) -> tuple[list[str], int]:
    """Returns the labels folded to less than half of the width, and their most rows of text."""
    folded = [fill(plain(label), letters(0.45 * width_of(paper, 1), paper)) for label in labels]
    return folded, max((name.count("\n") + 1 for name in folded), default=1)


def _dense(section: Section) -> list[tuple[str, float]]:
    return [
        (row["label"], section.measure.factor * row["top1_fraction_mean"])
        for _, row in section.dense.iterrows()
    ]
