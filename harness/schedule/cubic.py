from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.base import check_levels, check_target, check_unit


@dataclass(frozen=True)
class Cubic:
    """s + (1 - s)(1 - l/n)^3: much goes at first, little at the end, at level l of n.

    s is the share that `final` stands for.

    >>> Cubic(final=0.5, levels=2).shares(lambda density: density)
    [0.5625, 0.5]

    Source: Zhu & Gupta 2017, To prune, or not to prune (arXiv:1710.01878), equation 1, from
    sparsity 0. They prune every few hundred steps of one training, we at each level.

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
        return [s + (1 - s) * (1 - level / n) ** 3 for level in range(1, n + 1)]
