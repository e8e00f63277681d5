"""Defines the lines and axes of all figures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from harness.task.shared import measures

DENSE_COLOUR = "#808080"


@dataclass(frozen=True)
class Axis:
    """Describes an x axis: a column of the summary.

    Args:
        ratio: True for a logarithmic axis with ticks 2x, 4x, ...; else the axis is linear.
        published: True if published results have this ratio.
        ends: columns of both ends of an interval, or none.
        where: the conditions under which the values were measured, or "".
    """

    name: str
    column: str
    title: str
    ratio: bool = True
    published: bool = False
    ends: tuple[str, ...] = ()
    where: str = ""

    @property
    def full_title(self) -> str:
        return f"{self.title} ({self.where})" if self.where else self.title


MEASURED_SPEEDUP = "measured_speedup_ratio"
_CLOCKED = ("measured_speedup", "latency")  # axes whose values a clock has measured
AXES = (
    Axis("compression", "compression_ratio_mean", "Compression (measured)", published=True),
    Axis("speedup", "speedup_ratio_mean", "Theoretical speed-up", published=True),
    Axis(
        "measured_speedup",
        f"{MEASURED_SPEEDUP}_mean",
        "Measured speed-up",
        ends=(f"{MEASURED_SPEEDUP}_low", f"{MEASURED_SPEEDUP}_high"),
    ),
    Axis("latency", "latency_ms_mean", "Measured latency, ms", ratio=False),
    Axis("cost", "total_training_flops_mean", "Training cost, FLOPs", ratio=False),
)


@dataclass(frozen=True)
class Measure:
    """Describes a y axis: factor times mean and std of a column of the summary."""

    column: str
    factor: float
    title: str


def primary(measure: measures.Measure) -> Measure:
    """Returns the y axis of the primary measure."""
    return Measure("top1_fraction", measure.factor, measure.axis)


def change(measure: measures.Measure) -> Measure:
    """Returns the y axis of the difference to the dense model."""
    return Measure("change_points", 1, measure.change)


def measured(pruned: pd.DataFrame) -> list[Axis]:
    """Returns the AXES with positive values in the results, with the conditions of measuring."""
    places = sorted(set(pruned.get("latency_where", pd.Series(dtype=object))) - {""})
    where = "; ".join(places)
    return [
        replace(axis, where=where) if axis.name in _CLOCKED else axis
        for axis in AXES
        if axis.column in pruned and (pruned[axis.column] > 0).any()
    ]


def reached(axis: Axis, pruned: pd.DataFrame, published: pd.DataFrame) -> list[float]:
    """Returns all values on the axis, those of published results included."""
    ratios = published[f"{axis.name}_ratio"].tolist() if axis.published and len(published) else []
    ends = (value for name in axis.ends for value in pruned[name].tolist())
    return [*pruned[axis.column].tolist(), *ends, *ratios]


def lines(
    pruned: pd.DataFrame, axis: Axis, measure: Measure, labels: Iterable[str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields each method with its points from left to right, in the columns x, y and error.

    less and more are the distances to the ends of an interval of x, where the axis has one.
    """
    x = pruned[axis.column]
    drawn = measured_points(pruned[np.isfinite(x) & ((x > 0) | (not axis.ratio))], measure)
    drawn = drawn.assign(x=drawn[axis.column]).sort_values("x")
    if axis.ends:
        low, high = (drawn[name] for name in axis.ends)
        # The mean of medians may be beyond an end by rounding.
        drawn = drawn.assign(
            less=(drawn["x"] - low).clip(lower=0), more=(high - drawn["x"]).clip(lower=0)
        )
    for label in labels:
        if len(rows := drawn[drawn["label"] == label]):
            yield label, rows


def measured_points(pruned: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Adds the columns y and error, and leaves out rows without a value."""
    drawn = pruned[pruned[f"{measure.column}_mean"].notna()]
    return drawn.assign(
        y=measure.factor * drawn[f"{measure.column}_mean"],
        error=measure.factor * drawn[f"{measure.column}_std"],
    )


def iterate_rows(rows: pd.DataFrame) -> Iterator[Any]:
    """Yields rows with their columns as attributes."""
    yield from rows.itertuples()


def ticks(values: Iterable[float]) -> list[float]:
    """Returns the powers of two around the finite values.

    >>> ticks([1.9, 15.0])
    [1.0, 2.0, 4.0, 8.0, 16.0]
    """
    numbers = np.asarray(list(values), float)
    exponents = np.log2(numbers[np.isfinite(numbers) & (numbers > 0)])
    if not exponents.size:
        return [1.0, 2.0]
    # What is slightly beyond a power of two needs no further tick.
    low, high = np.floor(exponents.min() + 0.05), np.ceil(exponents.max() - 0.2)
    return [float(2**exponent) for exponent in np.arange(low, max(high, low + 1) + 1)]


def span(marks: list[float], values: Iterable[float]) -> tuple[float, float]:
    """Returns both ends of the x axis: a little beyond ticks and values, so no marker is cut."""
    finite = [value for value in values if np.isfinite(value) and value > 0]
    low, high = min([*marks, *finite]), max([*marks, *finite])
    beyond = max(1.1, (high / low) ** 0.04)
    return low / beyond, high * beyond
