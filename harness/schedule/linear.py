from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.base import check_levels, check_target, check_unit


@dataclass(frozen=True)
class Linear:
    """s + (1 - s)(1 - l/n): the same NUMBER of weights goes at every level l of n.

    s is the share that `final` stands for.

    >>> Linear(final=0.25, levels=3).shares(lambda density: density)
    [0.75, 0.5, 0.25]

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
        # In this form, unlike 1 - (1 - s) * l/n, the last share is s exactly.
        return [s + (1 - s) * (1 - level / n) for level in range(1, n + 1)]
