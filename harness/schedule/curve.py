"""Schedules that go from everything to one end point over a number of levels."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.base import check_levels, check_rounds, check_target, check_unit


@dataclass(frozen=True)
class Curve(ABC):
    """final: what is left after the last level, in `unit`.

    Raises:
        ValueError: final is outside the range of its unit, the unit is unknown, or levels < 1.
    """

    final: float = 0.05
    unit: str = "density"
    levels: int = 5
    rounds: int | None = None

    def __post_init__(self) -> None:
        check_unit(self.unit)
        check_rounds(self.rounds)
        check_target("final", self.final, self.unit)
        check_levels(self.levels)

    def shares(self, share_of: Callable[[float], float]) -> list[float]:
        end = share_of(self.final)
        return [self.left(end, n / self.levels) for n in range(1, self.levels + 1)]

    @abstractmethod
    def left(self, end: float, progress: float) -> float:
        """Kept share at `progress` in (0, 1] on the way from 1 to `end`; exactly `end` at 1."""
