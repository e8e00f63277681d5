"""Defines the fields of schedules with one final size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from harness.schedule.base import check_rounds, check_size, check_unit


@dataclass(frozen=True)
class FinalSize:
    """Has the fields of schedules with one final size.

    final: what is kept at the end, in `unit`.

    Raises:
        ValueError: final is outside the range of its unit, the unit is unknown, or rounds < 1.
    """

    final: float = 0.05
    unit: str = "density"
    rounds: int | None = None

    may_grow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_unit(self.unit)
        check_rounds(self.rounds)
        check_size("final", self.final, self.unit)

    @property
    def varies(self) -> bool:
        return False

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns the final fraction at every event, so that all is pruned at the first."""
        return [to_kept_fraction(self.final)] * (events + 1)
