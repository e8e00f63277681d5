from dataclasses import dataclass

import torch

from harness.data.base import Split, Splits
from harness.data.shared.prepare import check_integer, check_seed, normalised


@dataclass(frozen=True)
class NoisyBars:
    """Draws images (1, side, side) of a bar through a random pixel: lying (label 0), standing (1).

    Raises:
        ValueError: a count is too small, noise is below 0, or split_seed is negative.
    """

    side: int = 9
    train: int = 96
    validation: int = 32
    test: int = 64
    noise: float = 0.3
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("side", "train", "validation", "test"):
            check_integer(name, getattr(self, name), 2, "a sample per class at least")
        if self.noise < 0:
            raise ValueError(f"noise must be at least 0, got {self.noise!r}")
        check_seed(self.split_seed)

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
