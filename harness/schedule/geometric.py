from dataclasses import dataclass

from harness.schedule.shared.interpolation import Interpolation


@dataclass(frozen=True)
class Geometric(Interpolation):
    """s ** (l/n): the same FRACTION of what remains is pruned at every level l of n.

    s is the kept fraction of `final`.

    >>> [round(kept, 9) for kept in Geometric(final=0.125, levels=3).kept_fractions(float)]
    [0.5, 0.25, 0.125]

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635).
    """

    def kept_fraction(self, final: float, progress: float) -> float:
        return float(final**progress)
