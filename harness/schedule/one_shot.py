from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.shared.final_size import FinalSize


@dataclass(frozen=True)
class OneShot(FinalSize):
    """s at level 1, the kept fraction of `final`: all is pruned at once.

    >>> OneShot(final=0.25).kept_fractions(lambda density: density)
    [0.25]

    Raises:
        ValueError: as FinalSize.
    """

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        return [to_kept_fraction(self.final)]
