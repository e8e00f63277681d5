"""Finds pictures in folders, and reads them as squares of one size."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from harness.extras import check_extra
from harness.vocabulary.given.errors import first_line

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


def read_pictures(
    files: Sequence[Path], size: int, crop: float, interpolation: Interpolation, channels: int
) -> Tensor:
    """Returns the pictures as uint8: (pictures, channels, size, size).

    The shorter side becomes round(size / crop) pixels, and the square in the middle is cut out.
    Pictures in grey are read with three equal channels, and colours as grey with one channel.
    Transparent pixels lie on white. A picture is not turned as its EXIF data say.

    Raises:
        ValueError: a picture cannot be read; the first by name is named.
    """
    check_extra("data", "data=image_folder", "PIL", "torchvision")
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    mode, side = InterpolationMode(interpolation), round(size / crop)
    read, broken = [], []
    for file in files:
        try:
            picture = _opened(file, channels)
        except Exception as error:  # decoders raise many kinds
            broken.append((file, error))
            continue
        resized = F.resize(picture, side, mode)
        read.append(F.pil_to_tensor(F.center_crop(resized, [size, size])))
    _check_read(broken)
    return torch.stack(read)


def _opened(file: Path, channels: int) -> "Image":
    from PIL import Image

    with Image.open(file) as opened:
        mode = "RGB" if channels == 3 else "L"
        if "A" not in opened.getbands() and "transparency" not in opened.info:
            return opened.convert(mode)
        over = opened.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert(mode)


def _check_read(broken: Iterable[tuple[Path, Exception]]) -> None:
    found = list(broken)
    if found:
        file, error = min(found, key=lambda pair: pair[0])
        more = f" and {len(found) - 1} more files" if len(found) > 1 else ""
        raise ValueError(
            f"{file}{more} cannot be read as a picture ({first_line(error)}); mend or remove what "
            "is damaged"
        )
