import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from harness.data.base import Splits
from harness.data.shared.pictures import (
    KINDS,
    Interpolation,
    Pictures,
    damaged_in,
    folders_in,
    pictures_in,
)
from harness.data.shared.prepare import SEED
from harness.data.shared.streamed import streamed_splits
from harness.data.shared.transforms import train_transforms
from harness.extras import check_extra
from harness.vocabulary.checks import check_declared

SHARE = "a number in [0, 1); it is a share of each class, write e.g. 0.2"
PARTS = ("train", "validation", "test")
Labelled = list[tuple[Path, int]]


@dataclass(frozen=True)
class ImageFolder:
    """Reads pictures from a folder per class: root/CLASS/PICTURE. Shape (channels, size, size).

    Each class is divided at random, the same for every seed of a run. Where root holds the folders
    train, validation and test instead, each with a folder per class, they are the parts. Classes
    are numbered by name; `classes` says that the names are the numbers. The shorter side of a
    picture becomes size / crop pixels, and the square in its middle is cut out. Pixels are
    (p / 255 - mean) / std. Pictures are decoded when a batch needs them, or once, where they fit
    into memory.

    transforms: of training pictures, each by itself, in place of the square in the middle: names of
        torchvision.transforms.v2 with their arguments.
    skip_damaged: pictures that cannot be decoded are left out and counted. All are read for it.

    Source: the layout of torchvision.datasets.ImageFolder; mean, std and crop are those of
    torchvision's networks for ImageNet.

    Raises:
        ValueError: a value is out of range, or the folder does not hold what it should.
    """

    root: str = "pictures"
    size: Annotated[int, "a whole number in [1, 4096]; it counts pixels"] = 224
    crop: Annotated[float, "a number in (0, 1]; write 1 for the whole shorter side"] = 0.875
    interpolation: Interpolation = "bilinear"
    channels: Literal[1, 3] = 3
    mean: Sequence[Annotated[float, "a number in [0, 1]"]] = (0.485, 0.456, 0.406)
    std: Sequence[Annotated[float, "a number above 0"]] = (0.229, 0.224, 0.225)
    validation: Annotated[float, SHARE] = 0.1
    test: Annotated[float, SHARE] = 0.2
    classes: Annotated[int, "a whole number in [2, 1000000]"] | None = None
    split_seed: Annotated[int, SEED] = 0
    transforms: Sequence[str | Mapping[str, Any]] | None = None
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        check_declared(self)
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"data.{name} must have a number per channel ({self.channels}), got "
                    f"{list(getattr(self, name))}"
                )
        if self.validation + self.test >= 1:
            raise ValueError(
                f"data.validation + data.test must be below 1, got {self.validation} + "
                f"{self.test}; the rest is for training"
            )

    def files(self) -> list[Path]:
        """Returns the pictures.

        Raises:
            ValueError: there is no such folder.
        """
        return pictures_in(self._root())

    def load(self) -> Splits:
        check_extra("data", "data=image_folder", "PIL", "torchvision")
        root, damaged = self._root(), self._damaged()
        if (root / "train").is_dir():
            numbers = self._numbers(root / "train")
            parts = {part: self._labelled(self._part(part), numbers, damaged) for part in PARTS}
        else:
            numbers = self._numbers(root)
            parts = self._divided(self._labelled(root, numbers, damaged))
        classes = self.classes or len(numbers)
        samples = {
            part: Pictures(parts[part], self.size, self.crop, self.interpolation, self.channels)
            for part in PARTS
        }
        labels = {part: pictures.labels for part, pictures in samples.items()}
        return streamed_splits(
            samples, classes, labels, (self.mean, self.std), train_transforms(self.transforms)
        )

    def _root(self) -> Path:
        root = Path(self.root)
        if not root.is_dir():
            raise ValueError(
                f"data.root={self.root} is no folder; give one with a folder of pictures per class"
            )
        return root

    def _part(self, part: str) -> Path:
        folder = self._root() / part
        if not folder.is_dir():
            raise ValueError(
                f"data.root={self.root} has a folder train, and no {part}; make train, validation "
                "and test, or put the folders of the classes into data.root"
            )
        return folder

    def _numbers(self, folder: Path) -> dict[str, int]:
        """Returns the number of each class of a folder, by name."""
        names = [each.name for each in folders_in(folder)]
        if not names:
            raise ValueError(
                f"data.root={self.root}: {folder} holds no folders; put the pictures of each class "
                "into a folder of its own"
            )
        if self.classes is None:
            return {name: number for number, name in enumerate(names)}
        wrong = [n for n in names if not (n.isascii() and n.isdigit() and int(n) < self.classes)]
        if wrong:
            raise ValueError(
                f"data.classes={self.classes}: the folder {wrong[0]} of {folder} must have the "
                f"number of its class for a name, 0 to {self.classes - 1}; or write "
                "data.classes=null"
            )
        return {name: int(name) for name in names}

    def _labelled(
        self, folder: Path, numbers: Mapping[str, int], without: Collection[Path]
    ) -> Labelled:
        found: Labelled = []
        for name, number in self._numbers(folder).items():
            if self.classes is None and name not in numbers:
                raise ValueError(
                    f"data.root={self.root}: {folder} has the class {name}, which train has not; "
                    "make its folder there too"
                )
            files = [file for file in pictures_in(folder / name) if file not in without]
            if not files:
                raise ValueError(
                    f"data.root={self.root}: {folder / name} holds no {KINDS}; add some, or remove "
                    "the folder"
                )
            found += [(file, number if self.classes else numbers[name]) for file in files]
        return found

    def _divided(self, found: Labelled) -> dict[str, Labelled]:
        random = torch.Generator().manual_seed(self.split_seed)
        parts: dict[str, Labelled] = {part: [] for part in PARTS}
        for label in sorted({label for _, label in found}):
            same = [pair for pair in found if pair[1] == label]
            order = [same[i] for i in torch.randperm(len(same), generator=random).tolist()]
            held = {p: max(1, round(getattr(self, p) * len(same))) for p in PARTS[1:]}
            if len(same) <= sum(held.values()):
                raise ValueError(
                    f"data.root={self.root}: {same[0][0].parent} holds {len(same)} pictures, too "
                    "few to divide; a class needs 3 and more"
                )
            for part, count in held.items():
                parts[part] += order[:count]
                order = order[count:]
            parts["train"] += order
        return parts

    def _damaged(self) -> set[Path]:
        """Returns the pictures that are left out, and says how many they are."""
        damaged = damaged_in(self.files()) if self.skip_damaged else set()
        if damaged:
            logging.getLogger(__name__).warning(
                f"data.skip_damaged: {len(damaged)} pictures cannot be decoded and are left out, "
                f"the first is {min(damaged)}"
            )
        return damaged
