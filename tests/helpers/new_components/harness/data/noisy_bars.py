from dataclasses import dataclass
from typing import Annotated

import torch

from harness.data.base import Split, Splits
from harness.data.shared.prepare import SEED, normalised
from harness.vocabulary.checks import check_declared

COUNT = "a whole number in [2, 10000]; a sample per class at least"


@dataclass(frozen=True)
class NoisyBars:
    """Draws images (1, side, side) of a bar through a random pixel: lying (label 0), standing (1).

    Raises:
        ValueError: a value is out of range.
    """

    side: Annotated[int, "a whole number in [2, 100]"] = 9
    train: Annotated[int, COUNT] = 96
    validation: Annotated[int, COUNT] = 32
    test: Annotated[int, COUNT] = 64
    noise: Annotated[float, "a number >= 0"] = 0.3
    split_seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_declared(self)

    def load(self) -> Splits:
        random = torch.Generator().manual_seed(self.split_seed)
        parts = [self._split(n, random) for n in (self.train, self.validation, self.test)]
        return normalised(Splits(*parts, classes=2))

    def _split(self, samples: int, random: torch.Generator) -> Split:
        labels = torch.arange(samples) % 2
        images = self.noise * torch.randn(samples, 1, self.side, self.side, generator=random)
        at = torch.randint(self.side, (samples,), generator=random)
        for image, label, where in zip(images, labels.tolist(), at.tolist(), strict=True):
            image.select(1 + label, where).add_(1)
        return Split(images, labels)
