from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from harness.data.base import Split, Splits
from harness.data.shared.array_files import Rows, checked_cifar, joined, read_cifar
from harness.data.shared.array_sets import array_set
from harness.data.shared.fetching import fetch
from harness.data.shared.prepare import SEED, normalised, stratified
from harness.extras import check_extra
from harness.vocabulary.checks import check_declared

HELD_OUT = "a number in (0, 1); it is the fraction of the training data held out, write e.g. 0.1"
CLASSES = 10
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
PIXELS = 3 * 32 * 32
IMAGES_PER_FILE = 10_000


@dataclass(frozen=True)
class Cifar10:
    """Reads CIFAR-10 from `root`; `pruning-harness data prepare cifar10 ROOT` fetches it.

    Shape (3, 32, 32), normalised per channel. `validation` is the fraction of the training files
    held out, stratified. The official python layout is preferred to the binary one.

    `verify` compares with the checksums in torchvision; the binary layout has none there, so its
    file names and sizes are compared. verify=False takes any file data_batch_* and test_batch of
    either layout, e.g. a small one. The python layout is pickled; arrays, lists and texts are all
    that is read of it.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.

    Raises:
        ValueError: a value is out of range.
    """

    root: str = "data"
    verify: bool = True
    validation: Annotated[float, HELD_OUT] = 0.1
    split_seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_declared(self)

    def load(self) -> Splits:
        """Returns the splits.

        Raises:
            ValueError: files are missing, differ from the official ones while `verify` is set,
                or do not hold CIFAR-10 images.
        """
        layout = self._layout()
        files, last = self._chosen(layout)
        train, test = _split([layout.read(path) for path in files]), _split([layout.read(last)])
        held_out = round(self.validation * len(train))
        sizes = {"train": len(train) - held_out, "validation": held_out}
        if min(sizes.values()) < len(train.labels.unique()):
            raise ValueError(
                f"validation={self.validation} holds out {held_out} of {len(train)} training "
                "images; both parts need one image per class, set a fraction nearer to 0.5"
            )
        parts = stratified(train, sizes, self.split_seed)
        return normalised(Splits(**parts, test=test, classes=CLASSES), per_channel=True)

    def fetch(self, given: Path | None = None, say: Callable[[str], None] = print) -> Path:
        """Fetches the official python layout into `root`: see harness/data/shared/fetching.py.

        Raises:
            OSError: no source answers.
            ValueError: what is given is not CIFAR-10, or torchvision is not installed.
        """
        fetch(array_set("CIFAR10", {}), Path(self.root), given, say)
        return Path(self.root) / PYTHON

    @property
    def published_as(self) -> str | None:
        """Returns the name in the literature, or None for other files of the same layout."""
        return "cifar10" if self.verify else None

    def files(self) -> list[Path]:
        """Returns the files that `load` reads.

        Raises:
            ValueError: as of `load`, which reads them.
        """
        layout = self._layout()
        train, test = self._chosen(layout)
        return [*train, test]

    def _layout(self) -> "_Layout":
        root = Path(self.root)
        if (root / PYTHON).is_dir():
            return _Layout(root / PYTHON, "", _read_python, _differs_by_checksum)
        if (root / BINARY).is_dir():
            return _Layout(root / BINARY, ".bin", _read_binary, _differs_by_size)
        raise ValueError(
            f"data.root={self.root}: no {PYTHON} or {BINARY} in {root.absolute()}; "
            f"run pruning-harness data prepare cifar10 {self.root}"
        )

    def _chosen(self, layout: "_Layout") -> tuple[list[Path], Path]:
        """Returns the files of training images, and the file of test images."""
        folder, suffix = layout.folder, layout.suffix
        if self.verify and (names := layout.differing(folder)):
            raise ValueError(
                f"{folder}: missing or not the official CIFAR-10: {', '.join(names)}; "
                f"run pruning-harness data prepare cifar10 {self.root}, or write verify=false to "
                "use other files of this layout"
            )
        # Verified means the official files only, whatever other files there are.
        pattern = "data_batch_[1-5]" if self.verify else "data_batch_*"
        train = sorted(folder.glob(pattern + suffix))
        test = folder / f"test_batch{suffix}"
        if not train or not test.is_file():
            raise ValueError(
                f"{folder}: needs data_batch_*{suffix} and test_batch{suffix}; "
                f"run pruning-harness data prepare cifar10 {self.root}"
            )
        return train, test


@dataclass(frozen=True)
class _Layout:
    folder: Path
    suffix: str
    read: Callable[[Path], Rows]
    differing: Callable[[Path], list[str]]


def _differs_by_checksum(folder: Path) -> list[str]:
    check_extra("data", "data=cifar10", "torchvision", remedy=", or write data.verify=false")
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    official = CIFAR10.train_list + CIFAR10.test_list
    return [name for name, md5 in official if not check_integrity(folder / name, md5)]


def _differs_by_size(folder: Path) -> list[str]:
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    size = IMAGES_PER_FILE * (1 + PIXELS)
    paths = [folder / name for name in names]
    return [path.name for path in paths if not path.is_file() or path.stat().st_size != size]


def _read_python(path: Path) -> Rows:
    return read_cifar(path, "labels", CLASSES)


def _read_binary(path: Path) -> Rows:
    content = np.fromfile(path, dtype=np.uint8)
    if content.size % (1 + PIXELS):
        raise ValueError(
            f"{path} must hold {1 + PIXELS} bytes per image (label, pixels), got {content.size} "
            "bytes; is it cut off, or CIFAR-100?"
        )
    rows = content.reshape(-1, 1 + PIXELS)
    return checked_cifar(path, rows[:, 1:], rows[:, 0], CLASSES)


def _split(files: Sequence[Rows]) -> Split:
    pixels, labels = joined(files)
    return Split(torch.from_numpy(pixels), torch.from_numpy(labels))
