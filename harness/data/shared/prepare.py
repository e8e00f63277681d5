"""Divides data into stratified parts, normalises them, and checks the sizes of parts."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.data.base import Split, Splits
from harness.extras import check_extra
from harness.vocabulary.checks import check
from harness.vocabulary.given.inputs import select_samples

# The range of scikit-learn.
SEED = "a whole number in [0, 4294967295]; write e.g. 0"


def stratified(samples: Split, sizes: Mapping[str, int], seed: int) -> dict[str, Split]:
    """Returns disjoint random parts of the named sizes, with classes in equal proportion.

    Parts are drawn in the order of `sizes`; samples beyond their sum are left out. The draw
    depends on `seed` and the labels only.

    Raises:
        ValueError: the sizes do not fit (see check_sizes), or scikit-learn is not installed.
    """
    check_extra("data", "a stratified split", "sklearn")
    from sklearn.model_selection import train_test_split

    labels = samples.labels.numpy()
    check_sizes(sizes, samples=len(samples), classes=len(np.unique(labels)))
    rest = np.arange(len(samples))
    parts = {}
    for name, size in sizes.items():
        part, rest = (
            train_test_split(rest, train_size=size, stratify=labels[rest], random_state=seed)
            if size < len(rest)
            else (rest, rest[:0])
        )
        chosen = torch.from_numpy(part)
        parts[name] = Split(select_samples(samples.inputs, chosen), samples.labels[chosen])
    return parts


def normalised(splits: Splits, per_channel: bool = False) -> Splits:
    """Returns (x - mean) / std of the TRAINING inputs, the same for all three splits.

    Inputs are float32, or uint8 (kept so until here: a quarter of the memory); float32 comes out.

    Mean and std are two numbers, or two per channel (dimension 1 of the inputs). The std is that
    of the population (divided by n).

    Raises:
        ValueError: all training inputs (of a channel) are equal.
    """
    mean, std = _mean_and_std(splits.train.tensor, per_channel)

    def scaled(split: Split) -> Split:
        return Split((split.tensor - mean).div_(std), split.labels)

    return Splits(
        scaled(splits.train), scaled(splits.validation), scaled(splits.test), splits.classes
    )


def _mean_and_std(inputs: Tensor, per_channel: bool) -> tuple[Tensor, Tensor]:
    axes = [axis for axis in range(inputs.ndim) if not (per_channel and axis == 1)]
    std, mean = torch.std_mean(inputs.float(), dim=axes, correction=0, keepdim=True)
    if not std.all():
        raise ValueError("training inputs are all equal, so their std is 0; check the data files")
    return mean, std


def check_sizes(sizes: Mapping[str, int], samples: int, classes: int) -> None:
    """Checks that the parts fit into the samples.

    Raises:
        ValueError: a size is no whole number with room for one sample per class, or there are not
            so many samples, or a remainder is too small to be drawn by class.
    """
    for name, size in sizes.items():
        check(name, size, f"a whole number >= {classes}; a sample per class at least")
    requested = sum(sizes.values())
    if requested > samples or 0 < samples - requested < classes:
        raise ValueError(
            f"{' + '.join(sizes)} must be {samples} or at most {samples - classes}, got "
            f"{requested}; make one of them smaller"
        )
