"""One PNG per model and data set: accuracy against compression, and against speed-up."""

import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.lines import ACCURACY, DENSE_COLOUR, PANELS, Look, lines, looks, span, ticks
from harness.report.survey import Section, Survey


def write_figures(survey: Survey, out: Path) -> list[Path]:
    styles = looks(survey.labels())
    return [_write(section, styles, out) for section in survey.sections()]


def _write(section: Section, styles: dict[str, Look], out: Path) -> Path:
    # A Figure of its own: pyplot would keep every figure alive and look for a screen.
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    figure.suptitle(_plain(f"{section.title}: mean ± std over seeds"))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (x, title) in zip(panels, PANELS.items(), strict=True):
        _draw(axes, section, x, styles)
        axes.set_xlabel(title)
    panels[0].set_ylabel(ACCURACY)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    path = out / f"accuracy-{_slug(section.model)}-{_slug(section.data)}.png"
    # Without the version of matplotlib in it, equal records give equal bytes.
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path


def _draw(axes: Axes, section: Section, x: str, styles: dict[str, Look]) -> None:
    for _, row in section.dense.iterrows():
        accuracy = 100 * row["top1_share_mean"]
        axes.axhline(accuracy, color=DENSE_COLOUR, linewidth=1, label=_plain(row["label"]))
    for label, line in lines(section.pruned, x):
        look = styles[label]
        axes.errorbar(
            line["x"],
            line["y"],
            yerr=line["error"],
            label=_plain(label),
            color=look.colour,
            marker=look.marker[0],
            linestyle=look.dash[0],
            linewidth=1.4,
            markersize=5,
            capsize=3,
        )
    marks = ticks(section.pruned[x])
    axes.set_xscale("log", base=2)
    axes.set_xlim(*span(marks))
    axes.set_xticks(marks, [f"{mark:g}x" for mark in marks])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(text: str) -> str:
    # matplotlib reads $...$ as a formula.
    return text.replace("$", r"\$")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)
