"""Times steps that take turns, so that a drift of the machine reaches all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

Step = Callable[[], object]
Clock = Callable[[], float]


def waiting(call: Callable[[], object], device: torch.device, calls: int = 1) -> Step:
    """Returns a step of so many calls that returns when all of their work is done, on a GPU too."""

    def step() -> None:
        for _ in range(calls):
            call()
        wait_for(device)

    return step


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done all that was started on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Stopwatch:
    """Times the steps of several sides in rounds, over any number of calls of `run_for`.

    A round runs one step of each side. Every other round runs them in the opposite order, so that
    no side always comes after the same other one.

    Args:
        sides: name -> step. A step returns when all is done that it started, on a GPU too.
        repeats: timed rounds.
        warm_up: rounds before them, which are not timed.
        clock: returns seconds.
        seconds: name -> seconds of its step in each timed round.
    """

    sides: Mapping[str, Step]
    repeats: int
    warm_up: int = 0
    clock: Clock = time.perf_counter
    seconds: dict[str, list[float]] = field(init=False)
    _rounds: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.seconds = {name: [] for name in self.sides}

    def run_for(self, at_most_s: float) -> bool:
        """Runs at least one round, then more for this time; True if all are timed."""
        began = self.clock()
        while self._round() and self.clock() - began < at_most_s:
            pass
        return self._is_done

    @property
    def _is_done(self) -> bool:
        return self._rounds >= self.warm_up + self.repeats

    def _round(self) -> bool:
        """Runs one round; True if another one is left."""
        for name in [*self.sides][:: -1 if self._rounds % 2 else 1]:
            began = self.clock()
            self.sides[name]()
            seconds = self.clock() - began
            if self._rounds >= self.warm_up:
                self.seconds[name].append(seconds)
        self._rounds += 1
        return not self._is_done


def interleaved(
    sides: Mapping[str, Step], repeats: int, warm_up: int = 0, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Returns the seconds of each side's step in each of `repeats` rounds: see Stopwatch.

    The same position of two lists is one round, so that their ratio is one measurement.
    """
    watch = Stopwatch(sides, repeats, warm_up, clock)
    watch.run_for(float("inf"))
    return watch.seconds


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Returns first / second of each round.

    >>> ratios([4.0, 6.0], [2.0, 2.0])
    [2.0, 3.0]
    """
    return [one / other for one, other in zip(first, second, strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns low, median and high: a quarter of the values is below, a half, three quarters.

    >>> quartiles([4.0, 1.0, 2.0, 3.0, 100.0])
    (2.0, 3.0, 4.0)
    """
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
