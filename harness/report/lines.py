"""What both kinds of figures draw: lines, axes, and a look that does not rest on colour alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Each stands out from white and from near-black by at least 3:1.
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#b4559b", "#a87b00"),
    *("#8a63d2", "#c2334d", "#2391a8", "#6b8e23", "#7f7f7f"),
)
# Nine, so that colour and marker repeat together only after 90 methods: (matplotlib, plotly).
_MARKERS = (
    *(("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("X", "x")),
    *(("v", "triangle-down"), ("P", "cross"), ("*", "star"), ("<", "triangle-left")),
)
_LONG = (0, (8.0, 3.0))
_DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"), (_LONG, "longdash"))

DENSE_COLOUR = "#808080"
PANELS = {
    "compression_ratio_mean": "Compression (measured)",
    "speedup_ratio_mean": "Theoretical speed-up",
}
ACCURACY = "Top-1 accuracy, %"


@dataclass(frozen=True)
class Look:
    colour: str
    marker: tuple[str, str]
    dash: tuple[str | tuple[float, tuple[float, float]], str]


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """The same method looks the same in every figure of a report."""
    return {label: _look(number) for number, label in enumerate(labels)}


def _look(number: int) -> Look:
    return Look(
        _COLOURS[number % len(_COLOURS)],
        _MARKERS[number % len(_MARKERS)],
        _DASHES[number % len(_DASHES)],
    )


def lines(pruned: pd.DataFrame, x: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Per method the points that can be drawn, from left to right, with accuracies in %."""
    drawn = pruned[np.isfinite(pruned[x]) & pruned["top1_share_mean"].notna()]
    drawn = drawn.assign(
        x=drawn[x], y=100 * drawn["top1_share_mean"], error=100 * drawn["top1_share_std"]
    )
    by_label = drawn.sort_values("x").groupby("label")
    yield from sorted(((str(label), rows) for label, rows in by_label), key=_casefold)


def _casefold(line: tuple[str, pd.DataFrame]) -> str:
    return line[0].casefold()


def ticks(values: "pd.Series[float]") -> list[float]:
    """Powers of two around the finite values.

    >>> ticks(pd.Series([1.9, 15.0]))
    [1.0, 2.0, 4.0, 8.0, 16.0]
    """
    exponents = np.log2(values[np.isfinite(values) & (values > 0)].to_numpy())
    if not exponents.size:
        return [1.0, 2.0]
    # A hair beyond a power, as measured compression is, needs no further tick.
    low, high = np.floor(exponents.min() + 0.05), np.ceil(exponents.max() - 0.05)
    return [float(2**exponent) for exponent in np.arange(low, max(high, low + 1) + 1)]


def span(marks: list[float]) -> tuple[float, float]:
    """Both ends of the x axis: a little more than the ticks, so that no marker is cut."""
    return marks[0] / 1.1, marks[-1] * 1.1
