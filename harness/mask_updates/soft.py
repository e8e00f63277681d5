from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Soft:
    """mask = all True between two prunings: pruned weights train on from 0, and may recover.

    After the last pruning masks stay fixed.

    Source: He et al. 2018, Soft Filter Pruning (arXiv:1808.06866), who zero the filters of
    smallest L2 norm after every epoch, the same fraction each time, and leave their momentum. Here
    the schedule sets how much is pruned at each level, and a pruning zeroes optimizer state too.
    """

    may_grow: ClassVar[bool] = True
    unmasks_between_levels: ClassVar[bool] = True

    def check(self, steps: int) -> None:
        """Accepts a training of any length."""
