"""Slows a training down until a test ends the delay: slowed.Shifting."""

import os
import time
from dataclasses import dataclass
from typing import ClassVar

import parts
from torch import Tensor

SLOW = "HARNESS_TESTS_SLOW"  # names a file; while it is there, training is slow
STEP_S = 0.3


@dataclass(frozen=True)
class Shifting(parts.Shifting):
    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        wait()
        return super().apply(inputs, draws)


@dataclass(frozen=True)
class Pausing:
    """Leaves inputs of any shape as they are."""

    draws: ClassVar[int] = 1

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        wait()
        return inputs


def wait() -> None:
    if SLOW in os.environ and os.path.exists(os.environ[SLOW]):
        time.sleep(STEP_S)
