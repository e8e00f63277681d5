"""Defines lines, axes and styles of all figures; styles differ in more than colour."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

# Each has a contrast of at least 3:1 to white and to near-black.
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#b4559b", "#a87b00"),
    *("#8a63d2", "#c2334d", "#2391a8", "#6b8e23", "#7f7f7f"),
)
# matplotlib's name, and an SVG path in the square from -1 to 1. There are nine, so that the pair of
# colour and marker repeats only after 90 methods.
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

DENSE_COLOUR = "#808080"
ACCURACY = "Top-1 accuracy, %"
CHANGE = "Change of top-1 against dense, points"


@dataclass(frozen=True)
class Axis:
    """Describes an x axis: a column of the summary. ratio: its ticks are 2x, 4x, ..."""

    name: str
    column: str
    title: str
    ratio: bool = True


AXES = (
    Axis("compression", "compression_ratio_mean", "Compression (measured)"),
    Axis("speedup", "speedup_ratio_mean", "Theoretical speed-up"),
    Axis("latency", "latency_ms_mean", "Measured latency, ms", ratio=False),
    Axis("cost", "total_training_flops_mean", "Training cost, FLOPs", ratio=False),
)


def measured(pruned: pd.DataFrame) -> list[Axis]:
    """Returns the AXES with positive values in the results, because all are logarithmic."""
    return [axis for axis in AXES if axis.column in pruned and (pruned[axis.column] > 0).any()]


def reached(axis: Axis, pruned: pd.DataFrame, published: pd.DataFrame) -> list[float]:
    """Returns all values on the axis, those of published results included."""
    ratios = published[f"{axis.name}_ratio"].tolist() if axis.ratio and len(published) else []
    return [*pruned[axis.column].tolist(), *ratios]


@dataclass(frozen=True)
class LineStyle:
    """Holds colour, marker and dash of one method."""

    colour: str
    marker: tuple[str, str]
    dash: tuple[int, ...]


def line_styles(labels: Sequence[str]) -> dict[str, LineStyle]:
    """Gives each label its style, which is the same in every figure of a report."""
    return {label: _line_style(number) for number, label in enumerate(labels)}


def _line_style(number: int) -> LineStyle:
    return LineStyle(
        _COLOURS[number % len(_COLOURS)],
        _MARKERS[number % len(_MARKERS)],
        _DASHES[number % len(_DASHES)],
    )


def lines(
    pruned: pd.DataFrame, x: str, measure: str = "top1_fraction", factor: float = 100
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields each method with its points from left to right, in the columns x, y and error.

    y and error are factor times mean and std of `measure`.
    """
    drawn = pruned[np.isfinite(pruned[x]) & (pruned[x] > 0) & pruned[f"{measure}_mean"].notna()]
    drawn = drawn.assign(
        x=drawn[x], y=factor * drawn[f"{measure}_mean"], error=factor * drawn[f"{measure}_std"]
    )
    by_label = drawn.sort_values("x").groupby("label")
    yield from sorted(((str(label), rows) for label, rows in by_label), key=_casefold)


def iterate_rows(rows: pd.DataFrame) -> Iterator[Any]:
    """Yields rows with their columns as attributes."""
    yield from rows.itertuples()


def _casefold(line: tuple[str, pd.DataFrame]) -> str:
    return line[0].casefold()


def ticks(values: Iterable[float]) -> list[float]:
    """Returns the powers of two around the finite values.

    >>> ticks([1.9, 15.0])
    [1.0, 2.0, 4.0, 8.0, 16.0]
    """
    numbers = np.asarray(list(values), float)
    exponents = np.log2(numbers[np.isfinite(numbers) & (numbers > 0)])
    if not exponents.size:
        return [1.0, 2.0]
    # A measured compression is often slightly above a power of two, which needs no further tick.
    low, high = np.floor(exponents.min() + 0.05), np.ceil(exponents.max() - 0.05)
    return [float(2**exponent) for exponent in np.arange(low, max(high, low + 1) + 1)]


def span(marks: list[float]) -> tuple[float, float]:
    """Returns both ends of the x axis: a little beyond the ticks, so that no marker is cut."""
    return marks[0] / 1.1, marks[-1] * 1.1
