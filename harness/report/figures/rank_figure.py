"""Draws the critical-difference diagram: an axis of ranks, and bars over equal methods."""

import io
import re
from html import escape
from math import ceil, floor
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures.sheet import letters, plain
from harness.report.paper import Paper
from harness.report.read.survey import Ranks

# In inches: the axis, and the shortest one.
_AXIS, _SHORT = 3.8, 0.7
# In em, the size of the type: a letter, a row, and the space beside a name, with or without its
# rank.
_LETTER, _HEIGHT, _BESIDE, _GAP = 0.65, 2.08, 6.0, 2.0
# In rows: distance of names, distance of bars, height of the ruler above the axis.
_ROW, _BAR, _RULER = 1.0, 0.45, 1.6
_INK = "#000000"
# Parts of the SVG that a page must not get: global styles, duplicate ids, matplotlib's fonts.
_FOREIGN = (
    *(r"<metadata>.*?</metadata>", r"<defs>.*?</defs>", r"<!--.*?-->"),
    *(r' id="[^"]*"', r"font-family: [^;]*; ", r' transform="rotate\(-0 [^"]*"'),
)


def size(ranks: Ranks, paper: Paper) -> tuple[float, float]:
    """Returns width and height of the drawing in inches."""
    width = paper.width or _AXIS + 2 * _side(ranks, paper)
    return width, _HEIGHT * paper.em * (_depth(ranks, paper) + _RULER + 1.4)


def draw(axes: Axes, ranks: Ranks, paper: Paper) -> None:
    """Draws the diagram: best rank on the left, names at both sides, one colour only.

    Source of the drawing: Demsar 2006, JMLR 7, figure 1.
    """
    # The axis reaches over whole ranks, and has room for the ruler.
    low, high = floor(min(ranks.mean.values())), ceil(max(ranks.mean.values()))
    high = max(high, low + ceil(ranks.critical_difference))
    beside = _side(ranks, paper)
    side = beside / (size(ranks, paper)[0] - 2 * beside) * (high - low)
    axes.set_axis_off()
    axes.set_xlim(low - side, high + side)
    axes.set_ylim(-_depth(ranks, paper), _RULER + 1.2)
    _scale(axes, low, high)
    _ruler(axes, low, ranks.critical_difference)
    over = 0.004 * (high - low)
    for number, group in enumerate(ranks.groups):
        _line(
            axes,
            [ranks.mean[group[0]] - over, ranks.mean[group[-1]] + over],
            [-_BAR * (number + 1)] * 2,
            width=3.5,
        )
    _names(axes, ranks, (low - 4 * over, high + 4 * over), paper)


def _side(ranks: Ranks, paper: Paper) -> float:
    """Returns the width in inches of the names at one side; they are folded to fit."""
    wanted = _wanted(ranks, paper)
    return wanted if paper.width is None else min(wanted, (paper.width - _SHORT) / 2)


def _wanted(ranks: Ranks, paper: Paper) -> float:
    return paper.em * (_BESIDE + _LETTER * max(map(len, ranks.mean)))


def _texts(ranks: Ranks, paper: Paper) -> dict[str, str]:
    """Returns name and rank by name: in one row, or folded where the width is too small."""
    side, half = _side(ranks, paper), ceil(len(ranks.mean) / 2)
    pairs = enumerate(ranks.mean.items())
    if side < _wanted(ranks, paper):
        count = letters(side - _GAP * paper.em, paper, _LETTER, least=4)
        return {name: f"{fill(name, count)}\n{rank:.2f}" for _, (name, rank) in pairs}
    return {
        name: f"{name}  {rank:.2f}" if index < half else f"{rank:.2f}  {name}"
        for index, (name, rank) in pairs
    }


def _row(ranks: Ranks, paper: Paper) -> float:
    """Returns the distance of names, which may be folded, in rows."""
    return _ROW + 0.6 * max(text.count("\n") for text in _texts(ranks, paper).values())


def _depth(ranks: Ranks, paper: Paper) -> float:
    return _BAR * (len(ranks.groups) + 1) + _row(ranks, paper) * ceil(len(ranks.mean) / 2)


def _scale(axes: Axes, low: int, high: int) -> None:
    _line(axes, [low, high], [0, 0], width=1.2)
    step = max(1, (high - low) // 10)
    for rank in range(low, high + 1, step):
        _line(axes, [rank, rank], [0, 0.3])
        _text(axes, rank, 0.4, str(rank), "center", "bottom")


def _ruler(axes: Axes, low: int, distance: float) -> None:
    _line(axes, [low, low + distance], [_RULER, _RULER], width=1.2)
    for end in (low, low + distance):
        _line(axes, [end, end], [_RULER - 0.15, _RULER + 0.15])
    _text(axes, low + distance / 2, _RULER + 0.2, f"CD = {distance:.2f}", "center", "bottom")


def _names(axes: Axes, ranks: Ranks, ends: tuple[float, float], paper: Paper) -> None:
    distance, texts = _row(ranks, paper), _texts(ranks, paper)
    top, half = -_BAR * (len(ranks.groups) + 1), ceil(len(ranks.mean) / 2)
    for index, (name, rank) in enumerate(ranks.mean.items()):
        first = index < half
        # The outermost names are highest, so that no two leader lines cross.
        row = top - distance * ((index if first else len(ranks.mean) - 1 - index) + 0.5)
        end, align = (ends[0], "right") if first else (ends[1], "left")
        _line(axes, [rank, rank, end], [0, row, row])
        text = "\n".join(f" {line} " for line in plain(texts[name]).split("\n"))
        _text(axes, end, row, text, align, "center")


def _line(axes: Axes, x: list[float], y: list[float], width: float = 0.8) -> None:
    axes.plot(x, y, color=_INK, linewidth=width, solid_capstyle="butt", clip_on=False)


def _text(axes: Axes, x: float, y: float, text: str, align: str, vertical: str) -> None:
    axes.text(x, y, text, ha=align, va=vertical, color=_INK, multialignment=align)


def to_svg(ranks: Ranks) -> str:
    """Returns the diagram as <svg> for an HTML page, in the page's text colour.

    It has no ids, styles or scripts, so that several fit on one page. Equal ranks give equal bytes.
    """
    file, paper = io.StringIO(), Paper()
    settings: dict[Any, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "ranks",
        "font.size": paper.font,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size(ranks, paper))
        figure.patch.set_visible(False)
        draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)), ranks, paper)
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=none)
    return _for_a_page(file.getvalue(), ranks)


def _for_a_page(svg: str, ranks: Ranks) -> str:
    box = re.findall(r'viewBox="([^"]*)"', svg)[0]
    inner = svg[svg.index(">", svg.index("<svg")) + 1 :]
    for pattern in _FOREIGN:
        inner = re.sub(pattern, "", inner, flags=re.DOTALL)
    inner = inner.replace(_INK, "currentColor")
    title = escape(f"Critical-difference diagram, {ranks.title}: {ranks.caption()}")
    style = f"width:100%;max-width:{size(ranks, Paper())[0] * 96:.0f}px;height:auto"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" style="{style}" '
        f'fill="currentColor" stroke-linejoin="round"><title>{title}</title>{inner.strip()}'
    )
