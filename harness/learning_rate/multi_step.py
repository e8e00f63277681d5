from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from harness.learning_rate.base import WARM_UP, warmup_factor, warmup_steps
from harness.vocabulary.checks import check_declared

MILESTONE = "a number >= 0; write e.g. [80,120], or write learning_rate=constant"
GAMMA = "a number in (0, 1]; with 0 nothing is learnt; write e.g. 0.1"


@dataclass(frozen=True)
class MultiStep:
    """gamma ** (milestones passed), times the warm-up.

    A milestone at epoch 2 counts from the first step of epoch 2 (0-based) on, one at step 500 from
    step 500 (0-based) on: `unit` says which they are. One beyond the recipe's end is never reached.

    >>> steps = MultiStep(milestones=[1, 2], gamma=0.5)
    >>> [steps.factor(step, steps_per_epoch=2, epochs=3) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    >>> steps = MultiStep(milestones=[3], unit="steps", gamma=0.5)
    >>> [steps.factor(step, steps_per_epoch=2, epochs=3) for step in range(6)]
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]

    Raises:
        ValueError: there are no milestones, they do not rise, one is negative, gamma is not in
            (0, 1], or warmup_epochs is negative.
    """

    milestones: Annotated[Sequence[Annotated[float, MILESTONE]], "not empty"] = (80, 120)
    gamma: Annotated[float, GAMMA] = 0.1
    warmup_epochs: Annotated[float, WARM_UP] = 0.0
    unit: Literal["epochs", "steps"] = "epochs"

    def __post_init__(self) -> None:
        check_declared(self)
        for before, after in pairwise(self.milestones):
            if after <= before:
                raise ValueError(
                    f"milestones must rise, got {after} after {before}; sort them, each once"
                )

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        per_unit = steps_per_epoch if self.unit == "epochs" else 1
        passed = sum(step >= milestone * per_unit for milestone in self.milestones)
        warmup = warmup_factor(step, warmup_steps(self.warmup_epochs, steps_per_epoch))
        return float(warmup * self.gamma**passed)
