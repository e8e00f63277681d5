import math
from dataclasses import dataclass

import torch

from harness.data.base import Split, Splits


@dataclass(frozen=True)
class Spirals:
    """Draws spiral arms in the plane, one per class: shape (2,), coordinates within +-1.

    `noise` is the std of the samples around their arm; neighbouring arms lie 1 / arms apart.
    Labels go round: 0, 1, ..., arms - 1, 0, 1, ...

    Raises:
        ValueError: there are fewer than 2 arms, fewer samples than arms, or noise is below 0.
    """

    arms: int = 3
    train: int = 1200
    validation: int = 300
    test: int = 600
    noise: float = 0.02
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.arms < 2:
            raise ValueError(f"arms must be at least 2, got {self.arms}; one class tells nothing")
        for name in ("train", "validation", "test"):
            if getattr(self, name) < self.arms:
                raise ValueError(
                    f"{name} must be at least {self.arms}, a sample per arm, "
                    f"got {getattr(self, name)}"
                )
        if self.noise < 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}; write e.g. 0.02")

    def files(self) -> list[str]:
        # It reads none, so that its content is looked at once and not at each start.
        return []

    def load(self) -> Splits:
        # A stream of its own: the data are the same whatever the run's seed.
        random = torch.Generator().manual_seed(self.split_seed)
        train, validation, test = (
            self._split(samples, random) for samples in (self.train, self.validation, self.test)
        )
        return Splits(train, validation, test, classes=self.arms)

    def _split(self, samples: int, random: torch.Generator) -> Split:
        labels = torch.arange(samples) % self.arms
        radius = torch.rand(samples, generator=random).sqrt()
        angle = 2 * math.pi * (radius + labels / self.arms)
        arm = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        return Split(arm + self.noise * torch.randn(samples, 2, generator=random), labels)
