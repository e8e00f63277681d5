from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from harness.data.base import Split, Splits
from harness.data.shared.prepare import SEED, normalised
from harness.data.shared.splits import PARTS
from harness.vocabulary.checks import check, check_declared

CLASSES = "a whole number in [2, 1000000]; there is nothing to tell apart otherwise"
FEATURES = "a whole number in [1, 1000000]; write e.g. 8"
SAMPLES = "a whole number in [2, 100000000]; a sample per class at least"
SPREAD = "a number in (0, 1000000]; write e.g. 1.0"
MOST_NUMBERS = 10**8  # 0.4 GB


@dataclass(frozen=True)
class Blobs:
    """Draws Gaussian blobs: a small computed data set, for tests and examples.

    Class centres are drawn with std 2 per feature, samples around them with std `spread`. Labels
    go round: 0, 1, ..., classes - 1, 0, 1, ... Shape (features,).

    Raises:
        ValueError: a value is out of range, a split has no sample of some class, or all of them
            are more than 10^8 numbers.
    """

    classes: Annotated[int, CLASSES] = 4
    features: Annotated[int, FEATURES] = 8
    train: Annotated[int, SAMPLES] = 512
    validation: Annotated[int, SAMPLES] = 128
    test: Annotated[int, SAMPLES] = 256
    spread: Annotated[float, SPREAD] = 1.0
    split_seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_declared(self)
        sizes: dict[str, int] = {part: getattr(self, part) for part in PARTS}
        for name, size in sizes.items():
            check(name, size, f"a whole number >= {self.classes}; a sample per class at least")
        if sum(sizes.values()) * self.features > MOST_NUMBERS:
            raise ValueError(
                f"{' + '.join(sizes)} must be at most {MOST_NUMBERS // self.features} of "
                f"{self.features} features, got {sum(sizes.values())}; make one of them smaller"
            )

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
