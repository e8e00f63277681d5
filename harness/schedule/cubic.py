from dataclasses import dataclass

from harness.schedule.shared.interpolation import Interpolation


@dataclass(frozen=True)
class Cubic(Interpolation):
    """s + (1 - s)(1 - l/n)^3: much is pruned at first, little at the end, level l of n.

    s is the kept fraction of `final`.

    >>> Cubic(final=0.5, levels=2).kept_fractions(lambda density: density)
    [0.5625, 0.5]

    Source: Zhu & Gupta 2017, To prune, or not to prune (arXiv:1710.01878), equation 1, from
    sparsity 0. They prune every few hundred steps of one training: `event_fractions`, whose event 0
    removes nothing.
    """

    def kept_fraction(self, final: float, progress: float) -> float:
        return final + (1 - final) * (1 - progress) ** 3
