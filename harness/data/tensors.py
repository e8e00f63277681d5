import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.data.base import Splits
from harness.data.shared.any_samples import Scale, any_splits
from harness.data.shared.dividing import FRACTION
from harness.data.shared.pixels import mean_and_std
from harness.data.shared.prepare import SEED
from harness.data.shared.splits import PARTS
from harness.data.shared.streamed import ArraySamples
from harness.data.shared.transforms import train_transforms
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.errors import first_line

ENDINGS = (".npz", ".safetensors", ".pt")
NAME = "text of 1 to 200 characters"
UNREADABLE = (
    OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError,
    safetensors.SafetensorError,
)  # fmt: skip


@dataclass(frozen=True)
class Tensors:
    """Reads arrays of inputs and labels out of .npz, .safetensors or .pt files.

    `root` is a file with all parts, or a folder with train.ENDING, and test.ENDING and
    validation.ENDING if it has them. A file with all parts names arrays PART_inputs and
    PART_labels; one with the arrays `inputs` and `labels` alone is divided. Parts that are not
    there are drawn from training. No code in a file is executed.

    Pictures of uint8, (samples, channels, height, width), are normalised per channel by the
    training part. Other inputs stay as they are, uint8 becomes real numbers.

    inputs, labels: names of the arrays.
    classes: of the labels; null counts them.
    transforms: of training inputs: names of torchvision.transforms.v2 with their arguments.

    Raises:
        ValueError: a value is out of range.
    """

    root: str = "arrays"
    inputs: Annotated[str, NAME] = "inputs"
    labels: Annotated[str, NAME] = "labels"
    classes: Annotated[int, "a whole number in [1, 1000000]"] | None = None
    validation: Annotated[float, FRACTION] = 0.1
    test: Annotated[float, FRACTION] = 0.2
    split_seed: Annotated[int, SEED] = 0
    transforms: Sequence[str | Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        check_declared(self)

    def files(self) -> list[Path]:
        """Returns the files that `load` reads.

        Raises:
            ValueError: there is none, or its ending is of no known format.
        """
        root = Path(self.root)
        if root.is_dir():
            found = [root / f"{part}{ending}" for part in PARTS for ending in ENDINGS]
            there = [file for file in found if file.is_file()]
            if not any(file.stem == "train" for file in there):
                raise ValueError(
                    f"data.root={self.root} has no train{', train'.join(ENDINGS)}; name a file, or "
                    "a folder with one"
                )
            return there
        if not root.is_file() or root.suffix not in ENDINGS:
            raise ValueError(
                f"data.root={self.root} is no file {' or '.join(ENDINGS)}, and no folder of such"
            )
        return [root]

    def load(self) -> Splits:
        """Returns the splits.

        Raises:
            ValueError: a file cannot be read, lacks an array, or arrays do not fit.
        """
        return any_splits(
            self._parts(), {"validation": self.validation, "test": self.test}, self.split_seed,
            self.classes, _scale, train_transforms(self.transforms),
        )  # fmt: skip

    def _parts(self) -> dict[str, ArraySamples]:
        files = self.files()
        if Path(self.root).is_dir():
            return {file.stem: self._samples(file, read_tensors(file)) for file in files}
        tensors = read_tensors(files[0])
        named = [part for part in PARTS if f"{part}_{self.inputs}" in tensors]
        if "train" not in named:
            return {"train": self._samples(files[0], tensors)}
        return {part: self._samples(files[0], tensors, f"{part}_") for part in named}

    def _samples(self, file: Path, tensors: Mapping[str, Tensor], prefix: str = "") -> ArraySamples:
        names = f"{prefix}{self.inputs}", f"{prefix}{self.labels}"
        if missing := [name for name in names if name not in tensors]:
            raise ValueError(
                f"{file} has no array {missing[0]}, but {', '.join(sorted(tensors)) or 'none'}; "
                "name yours in data.inputs and data.labels"
            )
        inputs, labels = (tensors[name] for name in names)
        if not inputs.ndim or not labels.ndim or len(inputs) != len(labels) or not len(labels):
            raise ValueError(
                f"{file}: {names[0]} {tuple(inputs.shape)} and {names[1]} {tuple(labels.shape)} "
                "must have a row per sample, and at least one"
            )
        return ArraySamples(inputs, labels if labels.is_floating_point() else labels.long())


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Returns the arrays of a file by name.

    Raises:
        ValueError: the file is damaged, or holds something else than arrays.
    """
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(f"{file} cannot be read as arrays: {first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{file} must hold a dict of tensors; save one with torch.save")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _scale(train: ArraySamples) -> Scale | None:
    is_picture = train.inputs.dtype == torch.uint8 and train.inputs.ndim == 4
    return mean_and_std(train.inputs) if is_picture else None
