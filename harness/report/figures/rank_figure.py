"""Draws the critical-difference diagram: an axis of ranks, and bars over equal methods."""

import io
import re
from html import escape
from math import ceil, floor

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.read.survey import Ranks

# In inches: the axis, the space beside a name, and a letter of a name.
_AXIS, _BESIDE, _LETTER = 3.8, 0.7, 0.085
# In rows of text: distance of names, distance of bars, height of the ruler above the axis.
_ROW, _BAR, _RULER = 1.0, 0.45, 1.6
_INK = "#000000"
_TEXT_POINTS = 9
# Parts of the SVG that a page must not get: global styles, duplicate ids, matplotlib's fonts.
_FOREIGN = (
    *(r"<metadata>.*?</metadata>", r"<defs>.*?</defs>", r"<!--.*?-->"),
    *(r' id="[^"]*"', r"font-family: [^;]*; ", r' transform="rotate\(-0 [^"]*"'),
)


def size(ranks: Ranks) -> tuple[float, float]:
    """Returns width and height of the drawing in inches."""
    return _AXIS + 2 * _side(ranks), 0.26 * (_depth(ranks) + _RULER + 1.4)


def draw(axes: Axes, ranks: Ranks) -> None:
    """Draws the diagram: best rank on the left, names at both sides, one colour only.

    Source of the drawing: Demsar 2006, JMLR 7, figure 1.
    """
    # The axis reaches over whole ranks, and has room for the ruler.
    low, high = floor(min(ranks.mean.values())), ceil(max(ranks.mean.values()))
    high = max(high, low + ceil(ranks.critical_difference))
    side = _side(ranks) / _AXIS * (high - low)
    axes.set_axis_off()
    axes.set_xlim(low - side, high + side)
    axes.set_ylim(-_depth(ranks), _RULER + 1.2)
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
    _names(axes, ranks, low - 4 * over, high + 4 * over)


def _side(ranks: Ranks) -> float:
    return _BESIDE + _LETTER * max(map(len, ranks.mean))


def _depth(ranks: Ranks) -> float:
    return _BAR * (len(ranks.groups) + 1) + _ROW * ceil(len(ranks.mean) / 2)


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


def _names(axes: Axes, ranks: Ranks, left: float, right: float) -> None:
    top, half = -_BAR * (len(ranks.groups) + 1), ceil(len(ranks.mean) / 2)
    for index, (name, rank) in enumerate(ranks.mean.items()):
        first = index < half
        # The outermost names are highest, so that no two leader lines cross.
        row = top - _ROW * (index if first else len(ranks.mean) - 1 - index) - 0.5
        end, align = (left, "right") if first else (right, "left")
        _line(axes, [rank, rank, end], [0, row, row])
        text = f"{name}  {rank:.2f}" if first else f"{rank:.2f}  {name}"
        # matplotlib reads $...$ as a formula.
        _text(axes, end, row, f" {text} ".replace("$", r"\$"), align, "center")


def _line(axes: Axes, x: list[float], y: list[float], width: float = 0.8) -> None:
    axes.plot(x, y, color=_INK, linewidth=width, solid_capstyle="butt", clip_on=False)


def _text(axes: Axes, x: float, y: float, text: str, align: str, vertical: str) -> None:
    axes.text(x, y, text, ha=align, va=vertical, fontsize=_TEXT_POINTS, color=_INK)


def to_svg(ranks: Ranks) -> str:
    """Returns the diagram as <svg> for an HTML page, in the page's text colour.

    It has no ids, styles or scripts, so that several fit on one page. Equal ranks give equal bytes.
    """
    figure = Figure(figsize=size(ranks))
    figure.patch.set_visible(False)
    draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)), ranks)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ranks"}):
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
    style = f"width:100%;max-width:{size(ranks)[0] * 96:.0f}px;height:auto"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" style="{style}" '
        f'fill="currentColor" stroke-linejoin="round"><title>{title}</title>{inner.strip()}'
    )
