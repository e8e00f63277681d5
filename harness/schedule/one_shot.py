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

    def shares(self, share_of: Callable[[float], float]) -> list[float]:
        return [share_of(self.final)]
