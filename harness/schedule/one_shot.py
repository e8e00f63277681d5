from collections.abc import Callable
from dataclasses import dataclass

from harness.schedule.base import check_rounds, check_target, check_unit


@dataclass(frozen=True)
class OneShot:
    """Everything goes at level 1.

    >>> OneShot(final=0.25).shares(lambda density: density)
    [0.25]

    Raises:
        ValueError: final is outside the range of its unit, or the unit is unknown.
    """

    final: float = 0.05
    unit: str = "density"
    rounds: int | None = None

    def __post_init__(self) -> None:
        check_unit(self.unit)
        check_rounds(self.rounds)
        check_target("final", self.final, self.unit)

    def shares(self, share_of: Callable[[float], float]) -> list[float]:
        return [share_of(self.final)]
