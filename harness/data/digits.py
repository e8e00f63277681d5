from dataclasses import dataclass
from typing import Annotated

import torch

from harness.data.base import Split, Splits
from harness.data.shared.prepare import SEED, check_sizes, normalised, stratified
from harness.extras import check_extra
from harness.vocabulary.checks import check_declared

SAMPLES = 1797
SIZE = "a whole number in [10, 1797]; a sample per class at least"


@dataclass(frozen=True)
class Digits:
    """Loads scikit-learn's 1,797 digits of 8 x 8 pixels, stratified. Shape (1, 8, 8).

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), its test
    part, as sklearn.datasets.load_digits ships it.

    Raises:
        ValueError: a value is out of range, or the sizes do not fit into 1,797 samples.
    """

    train: Annotated[int, SIZE] = 1197
    validation: Annotated[int, SIZE] = 200
    test: Annotated[int, SIZE] = 400
    split_seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_declared(self)
        check_sizes(self._sizes, SAMPLES, classes=10)

    @property
    def _sizes(self) -> dict[str, int]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def load(self) -> Splits:
        check_extra("data", "data=digits", "sklearn")
        from sklearn.datasets import load_digits

        file = load_digits()
        images = torch.from_numpy(file.images).float().unsqueeze(1)
        samples = Split(images, torch.from_numpy(file.target).long())
        parts = stratified(samples, self._sizes, self.split_seed)
        return normalised(Splits(**parts, classes=10))
