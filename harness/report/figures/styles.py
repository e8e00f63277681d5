"""Gives each line of a figure its colour, marker and dash: styles differ in more than colour."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import lcm
from zlib import crc32

# Each has a contrast of at least 3:1 to white and to near-black, and no two are one hue.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#d63fb0"),
    *("#a88400", "#91604a", "#8454e8", "#c2185b"),
)
# matplotlib's name, and an SVG path in the square from -1 to 1. There are nine, so that methods of
# one colour differ by marker.
_MARKERS = (
    ("o", "M.9,0A.9,.9,0,1,1,-.9,0A.9,.9,0,1,1,.9,0Z"),
    ("s", "M-.8,-.8H.8V.8H-.8Z"),
    ("^", "M0,-1L1,.8H-1Z"),
    ("D", "M0,-1L1,0L0,1L-1,0Z"),
    ("X", "M-1,-.5L-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z"),
    ("v", "M0,1L1,-.8H-1Z"),
    ("P", "M-.4,-1H.4V-.4H1V.4H.4V1H-.4V.4H-1V-.4H-.4Z"),
    ("*", "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z"),
    ("<", "M-1,0L.8,-1V1Z"),
)
# Lengths of stroke and gap; () is a solid line.
_DASHES = ((), (6, 3), (2, 2), (6, 2, 2, 2), (12, 4))
# Numbers of styles that differ in colour or marker, and of all.
_MARKED, _STYLES = lcm(len(COLOURS), len(_MARKERS)), lcm(len(COLOURS), len(_MARKERS), len(_DASHES))
# Labels whose number is their place here. Methods that are often compared are in one row of eight,
# so that their colours differ.
SHIPPED = (
    *("Global Magnitude", "Global Gradient", "Layerwise Magnitude", "Layerwise Gradient"),
    *("LAMP", "Random", "SNIP", "SynFlow"),
    *("GraSP", "Iterative SNIP", "Random at Init", "Magnitude at Init"),
    *("Global |g|", "Smart Ratio Magnitude", "ERK Magnitude", "Uniform+ Magnitude"),
    *("SET", "RigL", "SNFS", "Static Sparse"),
    *("AC/DC", "Gradual Magnitude", "Movement", "ER Magnitude"),
    *("L1 Rows", "Taylor Rows", "Random Rows", "FPGM Rows"),
    *("HRank Rows", "APoZ Rows", "Mean Activation Rows", "Network Slimming Rows"),
    *("Taylor Activation Rows", "Soft Rows", "L1 Filters", "Taylor"),
    *("Sensitivity Magnitude", "Han Magnitude", "Balanced Magnitude", "Manual Magnitude"),
    *("OBD (Fisher)", "OBD (Hessian)", "OBS", "WoodFisher"),
    *("SparseGPT", "Wanda", "APoZ Filters", "FPGM Filters"),
    *("HRank Filters", "Taylor Filters", "Fisher Filters", "Random Filters"),
    *("Scratch-E Filters", "Scratch-B Filters"),
)


@dataclass(frozen=True)
class LineStyle:
    """Holds colour, marker and dash of one line."""

    colour: str
    marker: tuple[str, str]
    dash: tuple[int, ...]


def method_styles(labels: Sequence[str]) -> dict[str, LineStyle]:
    """Returns a style per method: that of a shipped label is the same in every report.

    The style of another label follows from a hash of it. Where a report has that colour already,
    the label gets the next colour that is free, or else the next style.
    """
    numbers = {label: SHIPPED.index(label) for label in labels if label in SHIPPED}
    for label in sorted(set(labels) - numbers.keys()):
        numbers[label] = _free(crc32(label.encode()) % _MARKED, numbers.values())
    return {label: _style(numbers[label]) for label in labels}


def line_styles(labels: Sequence[str]) -> dict[str, LineStyle]:
    """Returns a style per label, in their order."""
    return {label: _style(number) for number, label in enumerate(labels)}


def _free(first: int, taken: Collection[int]) -> int:
    colours = {number % len(COLOURS) for number in taken}
    following = [(first + step) % _MARKED for step in range(_MARKED)] + [*range(_MARKED, _STYLES)]
    new = (number for number in following if number % len(COLOURS) not in colours)
    unlike = (number for number in following if number not in taken)
    return next(new, next(unlike, first))


def _style(number: int) -> LineStyle:
    return LineStyle(
        COLOURS[number % len(COLOURS)],
        _MARKERS[number % len(_MARKERS)],
        _DASHES[number % len(_DASHES)],
    )
