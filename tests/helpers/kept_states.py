"""Keeps every state of a training, as a saver of checkpoints does."""

import copy
from typing import Any


class Kept:
    """Holds states by (whole epochs, steps of the next one)."""

    def __init__(self) -> None:
        self.states: dict[tuple[int, int], Any] = {}

    def begin(self, optimizer: object) -> None: ...

    def is_due(self, step: int) -> bool:
        return True

    def save(self, epoch: int, step: int, state: Any) -> None:
        self.states[epoch, step] = copy.deepcopy(state())
