from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from harness.data.base import Split, Splits
from harness.data.shared.any_samples import any_splits
from harness.data.shared.array_sets import ARRAY_SETS, ArraySet, array_set
from harness.data.shared.dividing import FRACTION
from harness.data.shared.fetching import differing, fetch
from harness.data.shared.loading import loading_now
from harness.data.shared.pictures import PICTURE_SETS, Interpolation, LibraryPictures
from harness.data.shared.pixels import Pixels, mean_and_std
from harness.data.shared.prepare import SEED, stratified
from harness.data.shared.streamed import ArraySamples, streamed_splits
from harness.data.shared.transforms import train_transforms
from harness.extras import check_extra
from harness.vocabulary.checks import check_declared

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HELD_OUT = "a number in (0, 1); it is the fraction of the training data held out, write e.g. 0.1"


@dataclass(frozen=True)
class Torchvision:
    """Reads a data set of torchvision.datasets by its name there, from `root`; fetches nothing.

    `pruning-harness data prepare NAME ROOT` brings the files. `validation` is the fraction of the
    training part held out, by class. Pictures are (p / 255 - mean) / std per channel; mean and std
    are those of the training part, unless they are given. EMNIST's pictures lie on their side, as
    in its files.

    verify: files must have the official checksums, or, where there are none, the official number
        of pictures. False takes any files of the same format.
    transforms: of training pictures, each by itself: names of torchvision.transforms.v2 with their
        arguments.
    options: further arguments of torchvision's class, such as EMNIST's {split: letters}.

    ImageNet, Flowers102, Food101 and other sets of large pictures are read as by
    data=image_folder: the square in the middle, of `size` pixels, normalised by ImageNet's mean and
    std unless others are given. `test` is drawn from training where a set has one part alone.

    Source: the papers that torchvision.datasets names for each.

    Raises:
        ValueError: a value is out of range, or there is no such data set.
    """

    name: Annotated[str, "text of 1 to 200 characters; write e.g. FashionMNIST"]
    root: str = "data"
    verify: bool = True
    validation: Annotated[float, HELD_OUT] = 0.1
    mean: Sequence[Annotated[float, "a number in [0, 1]"]] | None = None
    std: Sequence[Annotated[float, "a number above 0"]] | None = None
    options: Mapping[str, Any] | None = None
    size: Annotated[int, "a whole number in [1, 4096]; it counts pixels"] = 224
    crop: Annotated[float, "a number in (0, 1]; write 1 for the whole shorter side"] = 0.875
    interpolation: Interpolation = "bilinear"
    test: Annotated[float, FRACTION] = 0.2
    split_seed: Annotated[int, SEED] = 0
    transforms: Sequence[str | Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        check_name(self.name)
        for part in ("mean", "std"):
            if self._is_pictures and (moments := getattr(self, part)) and len(moments) != 3:
                raise ValueError(f"data.{part} must have 3 numbers, got {list(moments)}")
        if (self.mean is None) != (self.std is None):
            raise ValueError(
                "data.mean and data.std must be given together; or write null for both"
            )

    @property
    def published_as(self) -> str | None:
        """Returns the name in the literature, or None for other files of the same format."""
        if self._is_pictures:
            return self.name.lower()
        return self._set().published_as if self.verify else None

    def files(self) -> list[Path]:
        """Returns the files that `load` reads.

        Raises:
            ValueError: one is missing, or has another checksum while `verify` is set.
        """
        if self._is_pictures:
            return self._picture_files()
        spec, root = self._set(), Path(self.root)
        expected = spec.files if self.verify else dict.fromkeys(spec.files)
        if names := differing(root, expected):
            missing = [name for name in names if not (root / name).is_file()]
            what = "there is no" if missing else "not the official"
            other = "" if missing else ", or write data.verify=false to use other files"
            raise ValueError(
                f"data.root={self.root}: {what} {root.absolute() / (missing or names)[0]}; "
                f"run pruning-harness data prepare {self.name} {self.root}{other}"
            )
        return [root / name for name in spec.files]

    def load(self) -> Splits:
        """Returns the splits.

        Raises:
            ValueError: files are missing, differ from the official ones while `verify` is set, or
                do not hold what they should.
        """
        if self._is_pictures:
            return self._pictures()
        self.files()
        spec = self._set()
        whole, test = self._read(spec, 0), self._read(spec, 1)
        held_out = round(self.validation * len(whole))
        sizes = {"train": len(whole) - held_out, "validation": held_out}
        if min(sizes.values()) < len(whole.labels.unique()):
            raise ValueError(
                f"data.validation={self.validation} holds out {held_out} of {len(whole)} training "
                "pictures; both parts need one per class, set a fraction nearer to 0.5"
            )
        parts = {**stratified(whole, sizes, self.split_seed), "test": test}
        mean, std = self._scale(parts["train"].tensor)
        transform = train_transforms(self.transforms)
        if transform or loading_now().hold is False:
            samples = {name: ArraySamples(part.tensor, part.labels) for name, part in parts.items()}
            labels = {name: part.labels for name, part in parts.items()}
            return streamed_splits(samples, spec.classes, labels, (mean, std), transform)
        pixels = {name: Pixels(part.tensor, part.labels, mean, std) for name, part in parts.items()}
        return Splits(**pixels, classes=spec.classes)

    def fetch(self, given: Path | None = None, say: Callable[[str], None] = print) -> Path:
        """Fetches the files into `root`: see harness/data/shared/fetching.py.

        Raises:
            OSError: no source answers.
            ValueError: what is given is not this data set.
        """
        if self._is_pictures:
            raise ValueError(
                f"{self.name} is too large for this command; let torchvision.datasets.{self.name} "
                f"fetch it into {self.root}, or unpack its archives there by its page"
            )
        spec, root = self._set(), Path(self.root)
        fetch(spec, root, given, say)
        return (root / next(iter(spec.files))).parent

    @property
    def _is_pictures(self) -> bool:
        return self.name in PICTURE_SETS

    def _picture_files(self) -> list[Path]:
        found: list[Path] = []
        for name in PICTURE_SETS[self.name].places:
            place = Path(self.root) / name
            if not place.exists():
                raise ValueError(
                    f"data.root={self.root}: there is no {place.absolute()}, which {self.name} "
                    "consists of; let torchvision fetch it, or unpack its archives there"
                )
            found += sorted(p for p in place.rglob("*") if p.is_file()) or [place]
        return found

    def _pictures(self) -> Splits:
        check_extra("data", f"data.name={self.name}", "PIL", "torchvision")
        from torchvision import datasets

        self._picture_files()
        spec, made = PICTURE_SETS[self.name], getattr(datasets, self.name)
        options = self.options or {}
        parts = {
            part: LibraryPictures(
                made(self.root, **arguments, **options), self.size, self.crop, self.interpolation
            )
            for part, arguments in spec.parts.items()
        }
        scale = (self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD)
        return any_splits(
            parts, {"validation": self.validation, "test": self.test}, self.split_seed,
            spec.classes, lambda train: scale, train_transforms(self.transforms),
        )  # fmt: skip

    def _set(self) -> ArraySet:
        return array_set(self.name, self.options or {})

    def _read(self, spec: ArraySet, part: int) -> Split:
        names, count = (spec.train, spec.test)[part], spec.samples[part]
        files = [Path(self.root) / name for name in names]
        pixels, labels = spec.read(files)
        if self.verify and len(pixels) != count:
            raise ValueError(
                f"{files[0]} holds {len(pixels)} pictures instead of {count}; write "
                "data.verify=false to use other files of this format"
            )
        if not len(labels) or labels.min() < 0 or labels.max() >= spec.classes:
            raise ValueError(
                f"{files[-1]} must hold labels 0 to {spec.classes - 1}; is it another data set?"
            )
        return Split(torch.from_numpy(pixels), torch.from_numpy(labels))

    def _scale(self, pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.mean is None or self.std is None:
            return mean_and_std(pixels)
        channels = pixels.shape[1]
        for key in ("mean", "std"):
            if len(getattr(self, key)) != channels:
                raise ValueError(
                    f"data.{key} must have a number per channel ({channels}), got "
                    f"{list(getattr(self, key))}"
                )
        return tuple(self.mean), tuple(self.std)


def check_name(name: str) -> None:
    """Checks that torchvision has a data set of this name.

    Raises:
        ValueError: it has none; the message names those that are spelt most alike.
    """
    names = [*ARRAY_SETS, *PICTURE_SETS]
    if name not in names:
        lower = {known.lower(): known for known in names}
        near = [lower[key] for key in get_close_matches(name.lower().replace("_", ""), lower, n=3)]
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise ValueError(
            f"data.name={name}: there is no such data set; {meant}there are {', '.join(names)}"
        )
