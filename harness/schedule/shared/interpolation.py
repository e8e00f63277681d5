"""Implements schedules given by a formula of progress over levels or events."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from harness.schedule.base import LEVELS
from harness.schedule.shared.final_size import FinalSize


@dataclass(frozen=True)
class Interpolation(FinalSize, ABC):
    """Goes from 1 to the final kept fraction by a formula of progress.

    final: what is kept after the last level or event, in `unit`.

    Raises:
        ValueError: as FinalSize, or levels < 1.
    """

    levels: Annotated[int, LEVELS] = 5

    @property
    def varies(self) -> bool:
        return self.levels > 1

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        final = to_kept_fraction(self.final)
        return [self.kept_fraction(final, n / self.levels) for n in range(1, self.levels + 1)]

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns `kept_fraction` at progress k / events, k = 0..events.

        `levels` does not matter.

        Raises:
            ValueError: there is only one event: all would be pruned at once.
        """
        if events == 0:
            raise ValueError(
                "gradual.interval is longer than the time from gradual.first_step to "
                "gradual.last_step: all would be pruned "
                "at once; lower gradual.interval, or use schedule=one_shot"
            )
        final = to_kept_fraction(self.final)
        return [self.kept_fraction(final, k / events) for k in range(events + 1)]

    @abstractmethod
    def kept_fraction(self, final: float, progress: float) -> float:
        """Returns the kept fraction at `progress` in [0, 1], exactly `final` at 1."""
