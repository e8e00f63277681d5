"""Lays out a figure for print: width, panels, title, legend; all type has one size."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.paper import Paper

# In em, the size of the type: a letter, a row of text, and the line beside a name of a legend.
LETTER, ROW, _BESIDE = 0.58, 1.51, 4.6
# In inches: a panel by default, the narrowest one, and the limits of its height.
_PANEL, _NARROW, _HEIGHTS = 3.1, 1.6, (1.9, 3.2)
_MOST_COLUMNS = 4
_DOTS_PER_INCH = 200
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}


@dataclass(frozen=True)
class Sheet:
    """Holds a figure with its panels.

    panel_width: the width of a panel in inches, with its ticks and titles.
    """

    figure: Figure
    panels: list[Axes]
    paper: Paper
    panel_width: float

    def label(self, x: str, y: str, panel: Axes) -> None:
        """Writes the titles of both axes, folded; the left panels have that of y."""
        folded = fill(y, letters(_HEIGHTS[0] - 0.2, self.paper))
        beside = 0.4 + 1.8 * self.paper.em * folded.count("\n")
        panel.set_xlabel(fill(x, letters(self.panel_width - beside, self.paper)))
        if panel.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            panel.set_ylabel(folded)

    @property
    def most_ticks(self) -> int:
        """Returns the number of ticks, such as 128x, that fit beside each other."""
        return max(2, int((self.panel_width - 0.5) / (2.8 * self.paper.em)))

    def save(self, path: Path) -> list[Path]:
        """Writes PNG and PDF, with a legend below the panels if lines have names."""
        handles, labels = self.panels[0].get_legend_handles_labels()
        if labels:
            beside = letters(self._width - _BESIDE * self._em, self.paper)
            folded = [fill(label, beside) for label in labels]
            columns = legend_columns(labels, self._width, self._em)
            rows = ceil(len(labels) / columns) * max(text.count("\n") + 1 for text in folded)
            # As much as the names take away from the panels.
            self.figure.set_figheight(self.figure.get_figheight() + ROW * self._em * rows)
            self.figure.legend(
                handles, folded, loc="outside lower center", ncols=columns, frameon=False
            )
        return write(self.figure, path)

    @property
    def _width(self) -> float:
        return float(self.figure.get_figwidth())

    @property
    def _em(self) -> float:
        return self.paper.em


def sheet(paper: Paper, title: str, count: int, height: float | None = None) -> Sheet:
    """Returns a sheet with so many panels, in rows if the width needs them.

    height: of a panel in inches; by default it follows from the width.
    """
    width = width_of(paper, count)
    columns = max(1, min(count, int(width / _NARROW)))
    panel_width = width / columns
    title = fill(title, letters(width, paper))
    low, high = _HEIGHTS
    inches = height or min(high, max(low, 0.75 * panel_width))
    rows = ceil(count / columns)
    # Not pyplot, which would keep every figure alive and need a screen.
    figure = Figure(
        figsize=(width, inches * rows + ROW * paper.em * (title.count("\n") + 1)),
        layout="constrained",
    )
    figure.suptitle(title)
    axes = list(np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False)))
    for empty in axes[count:]:
        empty.remove()
    return Sheet(figure, axes[:count], paper, panel_width)


def width_of(paper: Paper, panels: int) -> float:
    """Returns the width of a figure in inches."""
    return paper.width or (_PANEL * panels if panels > 1 else 1.5 * _PANEL)


def letters(inches: float, paper: Paper, letter: float = LETTER, least: int = 8) -> int:
    """Returns how many letters, each so many em wide, fit into so many inches; `least` at least."""
    return max(least, int(inches / (letter * paper.em)))


def legend_columns(labels: list[str], width: float, em: float) -> int:
    """Returns the number of names that fit into one row.

    >>> legend_columns(["SNIP", "Global Magnitude"], 5.5, em=0.14)
    2
    """
    longest = max(map(len, labels), default=0)
    return max(1, min(_MOST_COLUMNS, int(width / em / (_BESIDE + LETTER * longest))))


def write(figure: Figure, path: Path) -> list[Path]:
    """Writes the figure as PNG and PDF."""
    files = [path.with_name(f"{path.name}.{kind}") for kind in _METADATA]
    for file, metadata in zip(files, _METADATA.values(), strict=True):
        figure.savefig(file, dpi=_DOTS_PER_INCH, metadata=metadata)
        figure.set_layout_engine("none")  # the layout of the first file is kept
    return files


def plain(text: str) -> str:
    # matplotlib reads $...$ as a formula.
    return text.replace("$", r"\$")
