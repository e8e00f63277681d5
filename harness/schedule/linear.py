from dataclasses import dataclass

from harness.schedule.shared.interpolation import Interpolation


@dataclass(frozen=True)
class Linear(Interpolation):
    """s + (1 - s)(1 - l/n): the same NUMBER of weights is pruned at every level l of n.

    s is the kept fraction of `final`.

    >>> Linear(final=0.25, levels=3).kept_fractions(lambda density: density)
    [0.75, 0.5, 0.25]
    """

    def kept_fraction(self, final: float, progress: float) -> float:
        # In this form, unlike 1 - (1 - final) * progress, the last value is final exactly.
        return final + (1 - final) * (1 - progress)
