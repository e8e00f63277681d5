from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from harness.schedule.shared.final_size import FinalSize


@dataclass(frozen=True)
class AcDc(FinalSize):
    """fraction(event) = s at even events, 1 (dense) at odd ones, s the kept fraction of `final`.

    >>> AcDc(final=0.25).event_fractions(lambda density: density, events=4)
    [0.25, 1.0, 0.25, 1.0, 0.25]

    Source: Peste et al. 2021, AC/DC (arXiv:2106.12379). `gradual.first_step` is their dense
    warm-up, `gradual.interval` the length of a phase, and what follows `gradual.last_step` the
    last, compressed one.
    On ImageNet (100 epochs) theirs are 10, 5 and 15 epochs, and their last dense phase is longer,
    10 epochs; here all phases before the last are equally long.

    Raises:
        ValueError: as FinalSize.
    """

    may_grow: ClassVar[bool] = True

    @property
    def varies(self) -> bool:
        return True

    def kept_fractions(self, to_kept_fraction: Callable[[float], float]) -> list[float]:
        """Refuses levels.

        Raises:
            ValueError: always: between trainings nothing grows back.
        """
        raise ValueError(
            "schedule=ac_dc alternates inside one training; use prune_at=during_training"
        )

    def event_fractions(
        self, to_kept_fraction: Callable[[float], float], events: int
    ) -> list[float]:
        """Returns the final fraction at even events and 1 at odd ones.

        Raises:
            ValueError: events is odd, or 0.
        """
        if events < 2 or events % 2:
            raise ValueError(
                "schedule=ac_dc begins and ends compressed: it needs an even number of events, at "
                f"least 2, after the one at gradual.first_step, and gradual names {events}; change "
                "gradual.last_step or gradual.interval"
            )
        final = to_kept_fraction(self.final)
        return [1.0 if k % 2 else final for k in range(events + 1)]
