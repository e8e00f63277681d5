from dataclasses import dataclass

from harness.schedule.shared.curve import Curve


@dataclass(frozen=True)
class Cubic(Curve):
    """s + (1 - s)(1 - l/n)^3: much goes at first, little at the end, at level or event l of n.

    s is the share that `final` stands for.

    >>> Cubic(final=0.5, levels=2).shares(lambda density: density)
    [0.5625, 0.5]

    Source: Zhu & Gupta 2017, To prune, or not to prune (arXiv:1710.01878), equation 1, from
    sparsity 0. They prune every few hundred steps of one training: `during`, whose event 0
    removes nothing.
    """

    def left(self, end: float, progress: float) -> float:
        return end + (1 - end) * (1 - progress) ** 3
