from dataclasses import dataclass

import torch

from harness.data.base import Split, Splits
from harness.data.shared.prepare import check_seed, check_sizes, normalised, stratified
from harness.extras import check_extra

SAMPLES = 1797


@dataclass(frozen=True)
class Digits:
    """Loads scikit-learn's 1,797 digits of 8 x 8 pixels, stratified. Shape (1, 8, 8).

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), its test
    part, as sklearn.datasets.load_digits ships it.

    Raises:
        ValueError: the sizes do not fit into 1,797 samples, or split_seed is negative.
    """

    train: int = 1197
    validation: int = 200
    test: int = 400
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self._sizes, SAMPLES, classes=10)
        check_seed(self.split_seed)

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
