"""Measures the time of a forward pass, or of any other step."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Latency:
    """Says whether and how a run measures its forward pass; no record depends on it.

    batch_size: samples at once; null: nothing is measured.
    repeats: timed passes.
    warm_up: passes before them, which are not timed.

    Raises:
        ValueError: a value is no count.
    """

    batch_size: Annotated[int, "a whole number in [1, 65536]"] | None = None
    repeats: Annotated[int, "a whole number in [1, 1000000]"] = 50
    warm_up: Annotated[int, "a whole number in [0, 1000000]"] = 5

    def __post_init__(self) -> None:
        check_declared(self)


@dataclass
class Stopwatch:
    """Times a step repeatedly, over any number of calls of `run_for`.

    step: returns when all is done that it started, on a GPU too.
    """

    step: Callable[[], object]
    repeats: int
    warm_up: int = 0
    clock: Callable[[], float] = time.perf_counter
    seconds: list[float] = field(default_factory=list)

    def run_for(self, at_most_s: float) -> bool:
        """Runs at least one step, then more for this time; True if all are timed."""
        began = self.clock()
        while self._step() and self.clock() - began < at_most_s:
            pass
        return len(self.seconds) >= self.repeats

    def quartiles(self) -> tuple[float, float, float]:
        """Returns the quartiles of a step's seconds: a quarter of the steps was faster, and so on.

        >>> Stopwatch(print, 5, seconds=[4.0, 1.0, 2.0, 3.0, 100.0]).quartiles()
        (2.0, 3.0, 4.0)
        """
        if len(self.seconds) == 1:
            return (self.seconds[0],) * 3
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, middle, high

    def _step(self) -> bool:
        """Runs one step; True if another one is left."""
        began = self.clock()
        self.step()
        if self.warm_up > 0:
            self.warm_up -= 1
        else:
            self.seconds.append(self.clock() - began)
        return len(self.seconds) < self.repeats
