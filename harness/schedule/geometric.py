from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.base import check_levels, check_target, check_unit


@dataclass(frozen=True)
class Geometric:
    """s ** (l/n): the same FRACTION of what remains goes at every level l of n.

    s is the share that `final` stands for.

    >>> [round(share, 9) for share in Geometric(final=0.125, levels=3).shares(float)]
    [0.5, 0.25, 0.125]

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635).

    Raises:
        ValueError: final is outside the range of its unit, the unit is unknown, or levels < 1.
    """

    final: float = 0.05
    unit: str = "density"
    levels: int = 5

    def __post_init__(self) -> None:
        check_unit(self.unit)
        check_target("final", self.final, self.unit)
        check_levels(self.levels)

    def shares(self, share_of: Callable[[float], float]) -> list[float]:
        s, n = share_of(self.final), self.levels
        return [float(s ** (level / n)) for level in range(1, n + 1)]
