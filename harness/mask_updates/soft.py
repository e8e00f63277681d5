from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Soft:
    """Between two prunings all masks are let go: what was pruned trains on from 0 and may recover.

    After the last pruning masks hold.

    Source: He et al. 2018, Soft Filter Pruning (arXiv:1808.06866), who zero the filters of
    smallest L2 norm after every epoch, the same share each time, and leave their momentum. Here
    the schedule says how much goes at each level, and a pruning zeroes optimizer state too.
    """

    may_grow: ClassVar[bool] = True
    unmasks_between_levels: ClassVar[bool] = True

    def check(self, steps: int) -> None:
        """Any training will do."""
