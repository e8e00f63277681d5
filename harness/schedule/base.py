"""Defines what a schedule is, and checks the fields of schedules; plain numbers, no torch."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Protocol

from harness.vocabulary.checks import check

Unit = Annotated[
    Literal["density", "compression", "speedup", "latency"],
    "density (kept fraction of what may be pruned) or compression (parameters before / after) or "
    "speedup (multiply-accumulates before / after) or latency (milliseconds before / after, by "
    "latency_table)",
]
UNITS = {
    "compression": "parameters before / after",
    "speedup": "multiply-accumulates before / after",
    "latency": "milliseconds before / after",
}
SIZE = "a finite number; write e.g. 0.05"
ROUNDS = "a whole number in [1, 10000]; null is what the saliency's authors do"
LEVELS = "a whole number in [1, 10000]; write levels=1 to prune once"


class Schedule(Protocol):
    """Says how much is kept at level 1, 2, ..., or at the events of one training.

    Level 0 is dense.
    """

    # True if the values of `event_fractions` may rise.
    may_grow: ClassVar[bool]

    @property
    def unit(self) -> str:
        """Returns what the schedule's own numbers mean: a key of UNITS."""

    @property
    def rounds(self) -> int | None:
        """Returns in how many prunings a level is reached, each with new scores.

        There is no training between them. None: as many as the saliency's authors take, mostly 1.
        """

    @property
    def varies(self) -> bool:
        """True if it can give different fractions at different levels."""

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        """Returns the kept fraction of the prunable part at level 1, 2, ..., never rising.

        Values are in (0, 1].

        `to_kept_fraction` turns one value in `unit` into such a fraction. It raises ValueError for
        a value that the model cannot reach. For a density it is the identity.

        Raises:
            ValueError: a value cannot be reached, or the schedule has no levels.
        """

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns the kept fraction at each event inside one training.

        There are events + 1 values, number k at progress k / events. With no event after the first
        it is the final fraction alone.

        Raises:
            ValueError: a value cannot be reached, or the schedule does not fit so many events.
        """


def round_fractions(before: float, after: float, rounds: int) -> list[float]:
    """Returns before (after / before)^(k / rounds), the kept fractions of rounds 1, 2, ...

    They lead from one level to the next. The same fraction of what remains is pruned in every
    round, as in SynFlow (Tanaka et al. 2020, arXiv:2006.05467) and iterative SNIP; the last value
    is `after` exactly. If `after` is 0 the steps are equal instead.

    >>> round_fractions(1.0, 0.25, rounds=2), round_fractions(0.5, 0.0, rounds=2)
    ([0.5, 0.25], [0.25, 0.0])
    """

    def fraction(k: int) -> float:
        if k == rounds:
            return after
        part = k / rounds
        return before * (after / before) ** part if after else before * (1 - part)

    return [fraction(k) for k in range(1, rounds + 1)]


def check_rounds(rounds: int | None) -> None:
    """Checks the number of rounds.

    Raises:
        ValueError: rounds is neither None nor a whole number in [1, 10000].
    """
    if rounds is not None:
        check("rounds", rounds, ROUNDS)


def check_size(key: str, value: float, unit: Unit) -> None:
    """Checks a value of a schedule against its unit.

    Raises:
        ValueError: value is not a finite number, or outside (0, 1] as density, below 1 as
            compression, speedup or latency.
    """
    check(key, value, SIZE)
    if unit == "density" and not 0 < value <= 1:
        raise ValueError(
            f"{key} must be in (0, 1] when unit is density, got {value}; {_hint(value)}"
        )
    if unit != "density" and value < 1:
        raise ValueError(
            f"{key} must be at least 1 when unit is {unit} ({UNITS[unit]}), got {value}; "
            "is it a density? write unit=density"
        )


def _hint(value: float) -> str:
    if value <= 0:
        return "write the fraction to keep, e.g. 0.05"
    if value <= 100:
        return f"is it a percentage? write {value / 100:g}"
    return "is it a compression? write unit=compression"
