"""Finds pictures in folders, and reads them as squares of one size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
KINDS = "pictures (.jpg, .png, .bmp, .tif, .webp, .ppm)"
Interpolation = Literal["bilinear", "bicubic"]


def folders_in(folder: Path) -> list[Path]:
    """Returns the visible folders in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def pictures_in(folder: Path) -> list[Path]:
    """Returns the pictures below a folder, by name; other and hidden files are left out."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
    return sorted(p for p in found if p.is_file() and not p.name.startswith("."))


@dataclass(frozen=True)
class Pictures:
    """Reads labelled pictures as uint8 (channels, size, size), one by one.

    The shorter side becomes round(size / crop) pixels, and the square in the middle is cut out.
    Pictures in grey are read with three equal channels, and colours as grey with one channel.
    Transparent pixels lie on white. A picture is not turned as its EXIF data say.
    """

    remedy: ClassVar[str] = "; mend or remove it, or write data.skip_damaged=true"

    files: Sequence[tuple[Path, int]]
    size: int
    crop: float
    interpolation: Interpolation
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture, label = self.whole(index)
        return cut_out(picture, self.size, self.crop, self.interpolation), label

    def whole(self, index: int) -> "tuple[Image, int]":
        """Returns the picture of a sample in the size of its file."""
        file, label = self.files[index]
        return _opened(file, self.channels), label

    def name_of(self, index: int) -> str:
        return str(self.files[index][0])

    @property
    def labels(self) -> Tensor:
        return torch.tensor([label for _, label in self.files])


def cut_out(picture: "Image", size: int, crop: float, interpolation: Interpolation) -> Tensor:
    """Returns the square in the middle of a picture, resized, as uint8 (channels, size, size)."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    resized = F.resize(picture, round(size / crop), InterpolationMode(interpolation))
    square: Tensor = F.pil_to_tensor(F.center_crop(resized, [size, size]))
    return square


def damaged_in(files: Iterable[Path]) -> set[Path]:
    """Returns the pictures that cannot be decoded; all are read for it."""
    found = set()
    for file in files:
        try:
            _opened(file, 3)
        except Exception:  # decoders raise many kinds
            found.add(file)
    return found


def _opened(file: Path, channels: int) -> "Image":
    from PIL import Image

    with Image.open(file) as opened:
        mode = "RGB" if channels == 3 else "L"
        if "A" not in opened.getbands() and "transparency" not in opened.info:
            return opened.convert(mode)
        over = opened.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert(mode)


@dataclass(frozen=True)
class LibraryPictures:
    """Reads the pictures of a data set of torchvision, as `Pictures` reads those of files."""

    remedy: ClassVar[str] = "; fetch its archive again"

    pictures: Any
    size: int
    crop: float
    interpolation: Interpolation

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture, label = self.whole(index)
        return cut_out(picture, self.size, self.crop, self.interpolation), label

    def whole(self, index: int) -> "tuple[Image, int]":
        """Returns the picture of a sample in the size of its file."""
        picture, label = self.pictures[index]
        return picture.convert("RGB"), int(label)

    @property
    def targets(self) -> Sequence[int] | None:
        """Returns the labels, under any of the names that they have in torchvision."""
        for name in ("targets", "_labels", "y"):
            if hasattr(self.pictures, name):
                return list(getattr(self.pictures, name))
        pairs = getattr(self.pictures, "_samples", None)
        return [label for _, label in pairs] if pairs else None


class PictureSet(NamedTuple):
    """Describes a data set of torchvision that is a folder of pictures.

    places: files and folders below the root that it consists of.
    parts: arguments of torchvision's class, by part.
    """

    places: tuple[str, ...]
    parts: Mapping[str, Mapping[str, str]]
    classes: int


def _split(**names: str) -> dict[str, dict[str, str]]:
    return {part: {"split": name} for part, name in names.items()}


_BOTH = _split(train="train", test="test")
_THREE = _split(train="train", validation="val", test="test")
PICTURE_SETS = {
    "ImageNet": PictureSet(("train", "val", "meta.bin"), _split(train="train", test="val"), 1000),
    "Flowers102": PictureSet(("flowers-102",), _THREE, 102),
    "Food101": PictureSet(("food-101",), _BOTH, 101),
    "DTD": PictureSet(("dtd",), _THREE, 47),
    "FGVCAircraft": PictureSet(("fgvc-aircraft-2013b",), _THREE, 100),
    "OxfordIIITPet": PictureSet(("oxford-iiit-pet",), _split(train="trainval", test="test"), 37),
    "GTSRB": PictureSet(("gtsrb",), _BOTH, 43),
    "Country211": PictureSet(
        ("country211",), _split(train="train", validation="valid", test="test"), 211
    ),
    "EuroSAT": PictureSet(("eurosat",), {"train": {}}, 10),
    "SUN397": PictureSet(("SUN397",), {"train": {}}, 397),
}
