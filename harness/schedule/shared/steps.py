"""When a schedule acts inside one training."""

from dataclasses import dataclass

from harness.vocabulary.checks import check_fields

COUNTED = "; it counts optimizer steps"
STARTS = {"init": "the initial network", "trained": "after dense training"}


@dataclass(frozen=True)
class Steps:
    """The events of a schedule, in optimizer steps of one training: begin, begin + every, ..., end.

    begin: step before which the first event comes; 0 is the beginning of the training.
    end: the last event is the last one that is not beyond it. None: three quarters of the training.
    start: "init" prunes while the initial network trains; "trained" in a training that follows
        the dense one.

    >>> Steps(begin=10, every=20).events(100), Steps(end=60, every=25).events(100)
    ([10, 30, 50, 70], [0, 25, 50])

    Source: Zhu & Gupta 2017 (arXiv:1710.01878): t in {t0, t0 + dt, ..., t0 + n dt}, both ends
    included.

    Raises:
        ValueError: a field is out of range, or end is before begin.
    """

    begin: int = 0
    end: int | None = None
    every: int = 100
    start: str = "init"

    def __post_init__(self) -> None:
        given = ("begin",) if self.end is None else ("begin", "end")
        check_fields(self, "a whole number of at least 0", *given, way_out=COUNTED)
        check_fields(self, "a whole number of at least 1", "every", way_out=COUNTED)
        if self.end is not None and self.end < self.begin:
            raise ValueError(
                f"end must not be before begin, got end={self.end} and begin={self.begin}; "
                "write end=null for three quarters of the training"
            )
        if self.start not in list(STARTS):
            known = " or ".join(f"{name} ({meaning})" for name, meaning in STARTS.items())
            raise ValueError(f"start must be {known}, got {self.start!r}")

    def events(self, steps: int) -> list[int]:
        """The steps (0-based) before which a training of so many steps has an event.

        Raises:
            ValueError: every, begin or end lies beyond the training, or begin beyond its last
                quarter's start when end is None.
        """
        end = 3 * steps // 4 if self.end is None else self.end
        if self.every > steps:
            raise _too_long("every", self.every, f"at most {steps}", steps)
        if self.begin >= steps:
            raise _too_long("begin", self.begin, f"at most {steps - 1}", steps)
        if end >= steps:
            rule = f"at most {steps - 1}, so that a step of training follows the last event"
            raise _too_long("end", end, rule, steps)
        if self.begin > end:
            rule = f"at most {end}, three quarters of the training, where steps.end=null ends"
            raise _too_long("begin", self.begin, rule, steps)
        return list(range(self.begin, end + 1, self.every))


def _too_long(key: str, value: int, rule: str, steps: int) -> ValueError:
    return ValueError(
        f"steps.{key} must be {rule}, got {value}: the training has {steps} optimizer steps"
    )
