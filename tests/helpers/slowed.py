"""A part that slows a training down for as long as a test wants: slowed.Shifting."""

import os
import time
from dataclasses import dataclass

import parts
from torch import Tensor

SLOW = "HARNESS_TESTS_SLOW"  # names a file; while it is there, training is slow
STEP_S = 0.1


@dataclass(frozen=True)
class Shifting(parts.Shifting):
    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        if SLOW in os.environ and os.path.exists(os.environ[SLOW]):
            time.sleep(STEP_S)
        return super().apply(inputs, draws)
