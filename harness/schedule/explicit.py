from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from harness.schedule.base import ROUNDS, SIZE, Unit, check_size
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Explicit:
    """Gives the listed values, one per level or event, each converted on its own.

    >>> Explicit(values=[2, 4, 8], unit="compression").kept_fractions(lambda times: 1 / times)
    [0.5, 0.25, 0.125]

    Two equal neighbours are a level that retrains without pruning.

    Raises:
        ValueError: there are no values, one is outside the range of its unit, one keeps more
            than the level before, or the unit is unknown.
    """

    values: Annotated[Sequence[Annotated[float, SIZE]], "not empty"] = (0.5, 0.25, 0.125)
    unit: Unit = "density"
    rounds: Annotated[int, ROUNDS] | None = None

    may_grow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_declared(self)
        for level, value in enumerate(self.values):
            check_size(f"values[{level}]", value, self.unit)
        self._check_never_rises()

    def _check_never_rises(self) -> None:
        falls = self.unit == "density"
        for before, after in pairwise(self.values):
            if (after > before) if falls else (after < before):
                raise ValueError(
                    f"values must not {'rise' if falls else 'fall'} when unit is {self.unit}, got "
                    f"{after} after {before}; pruned weights do not return, sort the values"
                )

    @property
    def varies(self) -> bool:
        return len(set(self.values)) > 1

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        return [to_kept_fraction(value) for value in self.values]

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns the values, one per event.

        Raises:
            ValueError: there is not one value per event.
        """
        listed = len(self.values)
        if listed != events + 1:
            raise ValueError(
                f"values has {listed} entries, one per event, and gradual names {events + 1} "
                "events; "
                f"gradual.last_step = gradual.first_step + {listed - 1} * gradual.interval fits"
            )
        return self.kept_fractions(to_kept_fraction)
