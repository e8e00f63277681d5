from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from harness.schedule.base import LEVELS
from harness.schedule.shared.final_size import FinalSize


@dataclass(frozen=True)
class Constant(FinalSize):
    """s at every level: all is pruned at level 1, and later levels retrain.

    >>> Constant(final=0.25, levels=3).kept_fractions(lambda density: density)
    [0.25, 0.25, 0.25]

    s is the kept fraction of `final`. It serves mask updates that move a fixed number of weights,
    as in dynamic sparse training.

    Raises:
        ValueError: as FinalSize, or levels < 1.
    """

    levels: Annotated[int, LEVELS] = 1

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        return [to_kept_fraction(self.final)] * self.levels
