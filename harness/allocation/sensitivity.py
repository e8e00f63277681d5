import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise, takewhile
from typing import Annotated, ClassVar, Literal

from harness.allocation.base import Allocation, Layer, Layers, SensitivityCurve
from harness.vocabulary.apportion import apportion
from harness.vocabulary.tensors import Counts

DENSITY = "a number in (0, 1]; write e.g. [1, 0.5, 0.1]"
GRID = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)
# Up to so much above a whole number of units is that number, written in floating point.
ROUNDING = 1e-9
Rule = Annotated[
    Literal["least_sum", "equal_rise"],
    "least_sum (of the rises of all layers) or equal_rise (the same in every layer)",
]


@dataclass(frozen=True)
class Sensitivity(Allocation):
    """Keeps the counts whose sum of rises of the loss, with each layer pruned alone, is the least.

    The rise of a layer at a density is its loss there minus that at density 1; it never falls with
    the density (the largest rise so far counts), and is linear between two densities of the grid.
    Below the least density that was measured nothing is known: no layer goes there before all
    have reached theirs, and then they shrink from it in proportion. A density whose loss is not
    finite counts as not measured, and so do all below it.

    rule: least_sum takes the curves' lower convex hulls, over counts. What falls least per unit
    goes first, so that a small layer keeps much more of itself than a large one of the same curve.
    equal_rise gives every layer the least density at which it alone raises the loss by no more
    than b, the same for all. Where rises, or falls per unit, are equal over ranges of counts, the
    layers go through them together, each in proportion to its range.

    grid: densities at which the experiment measures each layer, as fractions of all its units: from
    1, falling, in (0, 1]. Where fewer units are alive the layer is as it is.

    Source: Han et al. 2015 (arXiv:1506.02626) read a threshold for each layer off its sensitivity,
    by eye; equal_rise is ours. Shoham & Gersho 1988 (Efficient bit allocation for an arbitrary set
    of quantizers) give bits to quantizers by least_sum.

    Raises:
        ValueError: grid or rule is none such; when used, a layer comes without its curve.
    """

    grid: list[Annotated[float, DENSITY]] = field(default_factory=lambda: list(GRID))
    rule: Rule = "least_sum"

    needs_curves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_falling("grid", self.grid)

    def distribute(self, layers: Layers, keep: int) -> Counts:
        rises = {name: _Rise.of(name, layer.curve) for name, layer in layers.items()}
        if self.rule == "least_sum":
            return _least_sum(rises, layers, keep)
        return _equal_rise(rises, layers, keep)


@dataclass(frozen=True)
class _Rise:
    """Holds how the loss rises as a layer's density falls from 1."""

    densities: list[float]  # falling
    rises: list[float]  # not falling, from 0

    @classmethod
    def of(cls, name: str, curve: SensitivityCurve | None) -> "_Rise":
        if not curve:
            raise ValueError(
                f"{name} has no curve of the loss, which allocation=sensitivity reads; the "
                "experiment measures curves, a caller of its own gives them as Layer.curve"
            )
        _check_falling(f"curve of {name}", [density for density, _ in curve])
        measured = list(takewhile(lambda point: math.isfinite(point[1]), curve))
        if not measured:
            raise ValueError(f"{name}: the loss at density 1 is {curve[0][1]}, not a finite number")
        rises = [0.0]
        for _, loss in measured[1:]:
            rises.append(max(rises[-1], loss - measured[0][1]))
        return cls([density for density, _ in measured], rises)

    def least(self, budget: float, reached: bool) -> float:
        """Returns the least density whose rise is within the budget.

        reached: False returns the limit of the least densities within smaller budgets.
        """
        passed = (bisect_right if reached else bisect_left)(self.rises, budget)
        if passed in (0, len(self.rises)):
            return self.densities[max(0, passed - 1)]
        start, end = self.rises[passed - 1 : passed + 1]
        high, low = self.densities[passed - 1 : passed + 1]
        return high - (high - low) * (budget - start) / (end - start)


def _least_sum(rises: "dict[str, _Rise]", layers: Layers, keep: int) -> Counts:
    hulls = {name: _hull(rise, layers[name]) for name, rise in rises.items()}
    counts = {name: hull[0][0] for name, hull in hulls.items()}
    left = keep - sum(counts.values())
    if left <= 0:
        return apportion(keep, counts, counts)
    ranges = sorted(
        (_slope(fewer, more), name, more[0] - fewer[0])
        for name, hull in hulls.items()
        for fewer, more in pairwise(hull)
    )
    # Slopes are at most 0: where the loss falls most per unit comes first.
    for _, equal in groupby(ranges, key=lambda each: each[0]):
        widths = {name: width for _, name, width in equal}
        extra = apportion(min(left, sum(widths.values())), widths, widths)
        counts |= {name: counts[name] + more for name, more in extra.items()}
        left -= sum(extra.values())
    return counts


def _hull(rise: "_Rise", layer: Layer) -> list[tuple[int, float]]:
    """Returns the corners (units, rise) of the lower convex hull of a curve, by rising units."""
    rises: dict[int, float] = {}
    for density, value in zip(rise.densities, rise.rises, strict=True):
        rises.setdefault(_units(density, layer), value)
    corners: list[tuple[int, float]] = []
    for units, value in sorted(rises.items()):
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) >= _slope(
            corners[-1], (units, value)
        ):
            corners.pop()
        corners.append((units, value))
    return corners


def _slope(start: tuple[int, float], end: tuple[int, float]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])


def _equal_rise(rises: "dict[str, _Rise]", layers: Layers, keep: int) -> Counts:
    def counts_at(point: tuple[float, bool]) -> Counts:
        return {name: _units(rises[name].least(*point), layer) for name, layer in layers.items()}

    # Each corner keeps no more than the one before; from one to the next all is linear.
    steps = sorted({rise for curve in rises.values() for rise in curve.rises})
    points = [(step, reached) for step in steps for reached in (False, True)]
    below = bisect_left(points, -keep, key=lambda point: -sum(counts_at(point).values()))
    fewer = counts_at(points[below]) if below < len(points) else dict.fromkeys(layers, 0)
    more = counts_at(points[max(0, below - 1)]) if points else {}
    gaps = {name: more[name] - fewer[name] for name in layers}
    extra = apportion(keep - sum(fewer.values()), gaps, gaps)
    return {name: fewer[name] + extra[name] for name in layers}


def _units(density: float, layer: Layer) -> int:
    return min(layer.alive, math.ceil(density * layer.units - ROUNDING))


def _check_falling(key: str, densities: Sequence[float]) -> None:
    """Checks that densities fall from 1.

    Raises:
        ValueError: not densities that fall from 1.
    """
    falling = all(high > low for high, low in pairwise(densities))
    if not (densities and densities[0] == 1 and falling and densities[-1] > 0):
        raise ValueError(
            f"{key} must be densities that fall from 1 and stay above 0, e.g. [1, 0.5, 0.1], got "
            f"{densities!r}"
        )
