from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.shared.target import Target


@dataclass(frozen=True)
class OneShot(Target):
    """Everything goes at level 1.

    >>> OneShot(final=0.25).shares(lambda density: density)
    [0.25]

    Raises:
        ValueError: as Target.
    """

    @property
    def varies(self) -> bool:
        return False

    def shares(self, share_of: Callable[[float], float]) -> list[float]:
        return [share_of(self.final)]

    def during(self, share_of: Callable[[float], float], events: int) -> list[float]:
        """The final share at every event: everything goes at the first."""
        return [share_of(self.final)] * (events + 1)
