"""Defines the fields of schedules with one final size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from harness.schedule.base import ROUNDS, SIZE, Unit, check_size
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class FinalSize:
    """Has the fields of schedules with one final size.

    final: what is kept at the end, in `unit`.

    Raises:
        ValueError: final is outside the range of its unit, the unit is unknown, or rounds < 1.
    """

    final: Annotated[float, SIZE] = 0.05
    unit: Unit = "density"
    rounds: Annotated[int, ROUNDS] | None = None

    may_grow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_declared(self)
        check_size("final", self.final, self.unit)

    @property
    def varies(self) -> bool:
        return False

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns the final fraction at every event, so that all is pruned at the first."""
        return [to_kept_fraction(self.final)] * (events + 1)
