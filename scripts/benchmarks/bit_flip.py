"""Flips a bit in the masks of one rank, at a given step and place."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from harness.training.loop import Loop
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Flip:
    """Describes a flip.

    Args:
        step: Optimizer step under masks before which it happens, counted from 1.
        place: Position of the byte in the masks, as a fraction of all bytes.
        bit: Bit of that byte. Bit 0 makes True False and False True; another bit leaves no valid
            bool.
    """

    rank: int
    step: int
    place: float
    bit: int

    @classmethod
    def drawn(cls, draws: random.Random, ranks: int, steps: int) -> "Flip":
        """Draws a flip; half of all flips are of bit 0."""
        bit = draws.choice([0, draws.randrange(1, 8)])
        return cls(draws.randrange(ranks), draws.randrange(steps) + 1, draws.random(), bit)

    def happen(self, masks: Tensors) -> str:
        """Flips the bit, and returns the name of its tensor."""
        index = int(self.place * sum(mask.numel() for mask in masks.values()))
        for name, mask in masks.items():
            if index < mask.numel():
                # Not through torch, which counts changes: torch does not notice a memory fault.
                mask.view(torch.uint8).view(-1).numpy()[index] ^= 1 << self.bit
                return name
            index -= mask.numel()
        raise ValueError(f"place must be in [0, 1), got {self.place}")


@contextmanager
def flipping(flip: Flip, rank: int, at_flip: Callable[[Loop, str], None]) -> Iterator[list[int]]:
    """Makes the flip happen inside the context, on its rank; yields the numbers of later steps.

    at_flip: called on every rank with the loop, and on the flip's rank with the name of the tensor,
    elsewhere "".
    """
    update, number, since = Loop._update, 0, list[int]()

    def flipping_update(loop: Loop) -> None:
        nonlocal number
        in_force = None if loop.context.level == "rehearsal" else loop.hooks.masks_in_force
        number += bool(in_force)
        if in_force and number == flip.step:
            at_flip(loop, flip.happen(in_force()) if rank == flip.rank else "")
        if number >= flip.step:
            since.append(number)
        update(loop)

    Loop._update = flipping_update
    try:
        yield since
    finally:
        Loop._update = update
