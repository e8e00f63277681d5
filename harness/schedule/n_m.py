from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from harness.schedule.base import ROUNDS, SIZE, check_size
from harness.vocabulary.checks import check_declared

COUNT = "a whole number >= 1; schedule=n_m goes with structure=n_m"


@dataclass(frozen=True)
class NM:
    """n / m at level 1: the density that structure=n_m has in every layer.

    >>> NM(n=1, m=4).kept_fractions(lambda density: density)
    [0.25]

    n, m: of the structure.
    final: a density in place of n / m. Structure n_m refuses any other.

    Raises:
        ValueError: a field is out of range.
    """

    n: Annotated[int, COUNT] = 2
    m: Annotated[int, COUNT] = 4
    final: Annotated[float, SIZE] | None = None
    rounds: Annotated[int, ROUNDS] | None = None

    unit: ClassVar[str] = "density"
    may_grow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_declared(self)
        check_size("final", self._density, "density")

    @property
    def varies(self) -> bool:
        return False

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        return [to_kept_fraction(self._density)]

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns n / m at every event, so that all is pruned at the first."""
        return [to_kept_fraction(self._density)] * (events + 1)

    @property
    def _density(self) -> float:
        return self.n / self.m if self.final is None else self.final
