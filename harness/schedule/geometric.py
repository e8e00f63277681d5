from dataclasses import dataclass

from harness.schedule.shared.curve import Curve


@dataclass(frozen=True)
class Geometric(Curve):
    """s ** (l/n): the same FRACTION of what remains goes at every level l of n.

    s is the share that `final` stands for.

    >>> [round(share, 9) for share in Geometric(final=0.125, levels=3).shares(float)]
    [0.5, 0.25, 0.125]

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635).
    """

    def left(self, end: float, progress: float) -> float:
        return float(end**progress)
