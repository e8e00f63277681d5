"""Says what of a model's speed a run measures."""

from dataclasses import dataclass
from typing import Annotated

from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Latency:
    """Says whether and how a run measures its forward pass; no record depends on it.

    batch_size: samples at once; null: nothing is measured.
    repeats: timed passes.
    warm_up: passes before them, which are not timed.

    Raises:
        ValueError: a value is no count.
    """

    batch_size: Annotated[int, "a whole number in [1, 65536]"] | None = None
    repeats: Annotated[int, "a whole number in [1, 1000000]"] = 50
    warm_up: Annotated[int, "a whole number in [0, 1000000]"] = 5

    def __post_init__(self) -> None:
        check_declared(self)
