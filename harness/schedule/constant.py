from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.base import check_levels
from harness.schedule.shared.target import Target


@dataclass(frozen=True)
class Constant(Target):
    """The same share at every level: all goes at level 1, and later levels retrain.

    >>> Constant(final=0.25, levels=3).shares(lambda density: density)
    [0.25, 0.25, 0.25]

    For modes that move a fixed number of weights about, such as dynamic sparse training.

    Raises:
        ValueError: as Target, or levels < 1.
    """

    levels: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.levels)

    def shares(self, share_of: Callable[[float], float]) -> list[float]:
        return [share_of(self.final)] * self.levels
