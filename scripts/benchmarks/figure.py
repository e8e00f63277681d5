"""Sides that are timed in turns, and the figure that compares two of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Seconds = dict[str, list[float]]  # side -> one time per round

HEAD = f"{'figure':<44} {'median':>8} {'min':>8} {'max':>8}  target"
# Digits after the point, and the suffix of the number.
UNITS = {
    "ratio": (3, ""),
    "s": (1, " s"),
    "ms": (1, " ms"),
    "MB": (3, " MB"),
    "KB": (1, " KB"),
    "count": (0, ""),
}


@dataclass(frozen=True)
class Side:
    """Describes one way to do the work. Only `work` is timed, on the result of `prepare`."""

    prepare: Callable[[], Any]
    work: Callable[[Any], object]


def in_turns(
    sides: Mapping[str, Side],
    repeats: int,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Times the sides in rounds of A B C, C B A, B C A, A C B, ...

    Other load of the machine then affects all sides. Whatever a side leaves in caches and
    connections affects both of its neighbours. With time.process_time, of work on one thread,
    seconds are those of the CPU, which do not count time that other processes took.
    """
    seconds: Seconds = {name: [] for name in sides}
    if warm_up:
        for side in sides.values():
            side.work(side.prepare())
    names = list(sides)
    for number in range(repeats):
        first = number // 2 % len(names)
        order = names[first:] + names[:first]
        for name in reversed(order) if number % 2 else order:
            subject = sides[name].prepare()
            since = clock()
            sides[name].work(subject)
            seconds[name].append(clock() - since)
    return seconds


@dataclass(frozen=True)
class Figure:
    """Holds a median with the extremes over the rounds; `seconds` has the raw measurements."""

    name: str
    unit: str  # of UNITS
    median: float
    min: float
    max: float
    seconds: Seconds
    at_most: float | None = None  # targets
    at_least: float | None = None
    largest_weight_difference: float | None = None  # between models that should be equal
    cases: list[dict[str, Any]] = field(default_factory=list)  # what a count is made of

    def row(self) -> str:
        digits, mark = UNITS[self.unit]
        values = (self.median, self.min, self.max)
        numbers = " ".join(f"{f'{value:.{digits}f}{mark}':>8}" for value in values)
        return f"{self.name:<44} {numbers}  {self._verdict()}".rstrip()

    def _verdict(self) -> str:
        for sign, target in (("<=", self.at_most), (">=", self.at_least)):
            if target is not None:
                met = self.median <= target if sign == "<=" else self.median >= target
                return f"{sign} {target:g} {'met' if met else 'missed'}"
        return ""


@dataclass(frozen=True)
class Note:
    """Holds a row without a figure: a choice, a random draw, or why a figure is missing."""

    name: str
    text: str

    def row(self) -> str:
        return f"{self.name:<44} {self.text}"


def ratio(name: str, seconds: Seconds, over: str, under: str, **more: float) -> Figure:
    """Returns median of `over` / median of `under`, with min and max of the ratios of a round."""
    rounds = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    value = median(seconds[over]) / median(seconds[under])
    chosen = {side: seconds[side] for side in (over, under)}
    return Figure(name, "ratio", value, min(rounds), max(rounds), chosen, **more)


def duration(name: str, seconds: Seconds, of: str, **more: float) -> Figure:
    """Returns the figure of the seconds of one side."""
    times = seconds[of]
    return Figure(name, "s", median(times), min(times), max(times), {of: times}, **more)


def spread(name: str, unit: str, values: Sequence[float], **more: float) -> Figure:
    """Returns the figure of values that are measured one by one, in their unit."""
    return Figure(name, unit, median(values), min(values), max(values), {}, **more)


def count(name: str, cases: list[dict[str, Any]], good: str) -> Figure:
    """Counts the cases that are `good`; the target is all of them."""
    number = sum(bool(case[good]) for case in cases)
    of_all = f"{name}, of {len(cases)}"
    return Figure(of_all, "count", number, number, number, {}, at_least=len(cases), cases=cases)
