from dataclasses import dataclass

import torch
from torch import Tensor

from harness.data.base import Split, Splits
from harness.data.shared.prepare import check_integer, check_seed, normalised
from harness.vocabulary.checks import check


@dataclass(frozen=True)
class Blobs:
    """Draws Gaussian blobs: a small computed data set, for tests and examples.

    Class centres are drawn with std 2 per feature, samples around them with std `spread`. Labels
    go round: 0, 1, ..., classes - 1, 0, 1, ... Shape (features,).

    Raises:
        ValueError: a count is too small, spread is not a number above 0, or split_seed is
            negative.
    """

    classes: int = 4
    features: int = 8
    train: int = 512
    validation: int = 128
    test: int = 256
    spread: float = 1.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_integer("classes", self.classes, 2, "there is nothing to tell apart otherwise")
        check_integer("features", self.features, 1, "write e.g. 8")
        for name in ("train", "validation", "test"):
            check_integer(name, getattr(self, name), self.classes, "a sample per class at least")
        check("spread", self.spread, "above 0", "; write e.g. 1.0")
        check_seed(self.split_seed)

    def load(self) -> Splits:
        random = torch.Generator().manual_seed(self.split_seed)
        centres = 2 * torch.randn(self.classes, self.features, generator=random)
        train = self._around(centres, self.train, random)
        validation = self._around(centres, self.validation, random)
        test = self._around(centres, self.test, random)
        return normalised(Splits(train, validation, test, self.classes))

    def _around(self, centres: Tensor, samples: int, random: torch.Generator) -> Split:
        labels = torch.arange(samples) % self.classes
        noise = torch.randn(samples, self.features, generator=random)
        return Split(centres[labels] + self.spread * noise, labels)
