"""Computes when a schedule prunes inside one training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.vocabulary.checks import check_declared

STEP = "a whole number of at least 0; it counts optimizer steps"
INTERVAL = "a whole number of at least 1; it counts optimizer steps"

Start = Annotated[
    Literal["init", "trained"], "init (the initial model) or trained (after dense training)"
]


@dataclass(frozen=True)
class Gradual:
    """Computes the events inside one training: first_step, first_step + interval, ...

    All are counted in optimizer steps.

    first_step: step before which the first event comes; 0 is the beginning of the training.
    last_step: the last event is the last one that is not beyond it. None: three quarters of the
        training.
    start_from: "init" prunes while the initial model trains; "trained" in a training that follows
        the dense one.

    >>> Gradual(first_step=10, interval=20).events(100)
    [10, 30, 50, 70]
    >>> Gradual(last_step=60, interval=25).events(100)
    [0, 25, 50]

    Source: Zhu & Gupta 2017 (arXiv:1710.01878): t in {t0, t0 + dt, ..., t0 + n dt}, both ends
    included.

    Raises:
        ValueError: a field is out of range, or last_step is before first_step.
    """

    first_step: Annotated[int, STEP] = 0
    last_step: Annotated[int, STEP] | None = None
    interval: Annotated[int, INTERVAL] = 100
    start_from: Start = "init"

    def __post_init__(self) -> None:
        check_declared(self)
        if self.last_step is not None and self.last_step < self.first_step:
            raise ValueError(
                f"last_step must not be before first_step, got last_step={self.last_step} and "
                f"first_step={self.first_step}; "
                "write last_step=null for three quarters of the training"
            )

    def events(self, steps: int) -> list[int]:
        """Returns the steps (0-based) before which a training of so many steps has an event.

        Raises:
            ValueError: a field lies beyond the training, or first_step beyond its last
                quarter's start when last_step is None.
        """
        end = 3 * steps // 4 if self.last_step is None else self.last_step
        if self.interval > steps:
            raise _too_long("interval", self.interval, f"at most {steps}", steps)
        if self.first_step >= steps:
            raise _too_long("first_step", self.first_step, f"at most {steps - 1}", steps)
        if end >= steps:
            rule = f"at most {steps - 1}, so that a step of training follows the last event"
            raise _too_long("last_step", end, rule, steps)
        if self.first_step > end:
            rule = (
                f"at most {end}, three quarters of the training, where gradual.last_step=null ends"
            )
            raise _too_long("first_step", self.first_step, rule, steps)
        return list(range(self.first_step, end + 1, self.interval))


def _too_long(key: str, value: int, rule: str, steps: int) -> ValueError:
    return ValueError(
        f"gradual.{key} must be {rule}, got {value}: the training has {steps} optimizer steps"
    )
