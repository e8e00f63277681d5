"""Reads pictures and labels from the file formats of small data sets; executes nothing of them."""

import bz2
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.extras import check_extra
from harness.vocabulary.given.unpickling import ARRAYS, restricted_load

# (pictures, channels, height, width) of uint8, and (pictures,) of int64.
Rows = tuple[np.ndarray, np.ndarray]
IDX_TYPES = {8: ">u1", 12: ">i4"}


def read_idx(path: Path) -> np.ndarray:
    """Returns the array of a file in MNIST's idx format.

    Raises:
        ValueError: it has another format or length.
    """
    content = np.fromfile(path, dtype=np.uint8)
    head = content[:4].tolist()
    if len(head) < 4 or head[:2] != [0, 0] or head[2] not in IDX_TYPES:
        raise ValueError(f"{path} is no idx file of whole numbers; is it still packed, or damaged?")
    kind, begin = np.dtype(IDX_TYPES[head[2]]), 4 + 4 * head[3]
    shape = content[4:begin].view(">u4").tolist() if len(content) >= begin else [-1]
    expected = begin + kind.itemsize * int(np.prod(shape))
    if len(content) != expected:
        raise ValueError(f"{path} has {len(content)} bytes instead of {expected}; is it cut off?")
    return content[begin:].view(kind).reshape(shape)


def read_idx_pair(files: Sequence[Path]) -> Rows:
    """Returns the grey pictures of the first file, and the labels of the second.

    Where a picture has several labels, the first counts.
    """
    pictures, labels = map(read_idx, files)
    if pictures.ndim != 3 or len(labels) != len(pictures):
        raise ValueError(
            f"{files[0]} must hold a picture per label of {files[1].name}, got {pictures.shape} "
            f"and {labels.shape}; are they of one data set?"
        )
    classes = labels.reshape(len(labels), -1)[:, 0].astype(np.int64)
    return pictures[:, None], classes


def read_letters(files: Sequence[Path]) -> Rows:
    """Returns the letters of EMNIST, whose labels begin at 1."""
    pictures, labels = read_idx_pair(files)
    return pictures, labels - 1


def read_cifar(path: Path, labels: str, classes: int) -> Rows:
    """Returns what a file of CIFAR's python layout holds; arrays, lists and texts are unpickled.

    Raises:
        ValueError: it holds something else, or pictures of another data set.
    """
    with path.open("rb") as file:
        try:
            entry = restricted_load(file, ARRAYS, encoding="latin1")
        except (pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{path} holds more than arrays and lists ({error})") from error
    try:
        pixels, found = np.asarray(entry["data"]), np.asarray(entry[labels])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must hold a dict with data and {labels}; is it another data set?"
        ) from error
    return checked_cifar(path, pixels, found, classes)


def checked_cifar(path: Path, pixels: np.ndarray, labels: np.ndarray, classes: int) -> Rows:
    """Returns the rows of 3072 numbers as pictures.

    Raises:
        ValueError: they have another shape or type, or a label is not below `classes`.
    """
    fits = pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3072) and len(labels) > 0
    if not fits or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{path} must hold uint8 images of 3072 numbers, each with a label 0 to {classes - 1}, "
            f"got {pixels.dtype} {pixels.shape} and {len(labels)} labels; is it another data set?"
        )
    return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def read_cifar100(files: Sequence[Path]) -> Rows:
    return read_cifar(files[0], "fine_labels", 100)


def read_cifar10(files: Sequence[Path]) -> Rows:
    return joined([read_cifar(file, "labels", 10) for file in files])


def joined(rows: Sequence[Rows]) -> Rows:
    pixels, labels = zip(*rows, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def read_svhn(files: Sequence[Path]) -> Rows:
    """Returns what a .mat file of SVHN holds; its label 10 is the digit 0."""
    check_extra("data", "data.name=SVHN", "sklearn")  # which brings scipy
    from scipy.io import loadmat

    try:
        content = loadmat(files[0], variable_names=["X", "y"])
        pixels, labels = content["X"].transpose(3, 2, 0, 1), content["y"].flatten()
    except Exception as error:  # loadmat raises many kinds
        raise ValueError(f"{files[0]} is no .mat file with X and y: {error}") from error
    return np.ascontiguousarray(pixels), labels.astype(np.int64) % 10


def read_stl10(files: Sequence[Path]) -> Rows:
    """Returns STL-10's pictures, which its file holds column by column."""
    pixels, labels = (np.fromfile(file, dtype=np.uint8) for file in files)
    if pixels.size != len(labels) * 3 * 96 * 96:
        raise ValueError(
            f"{files[0]} must hold {3 * 96 * 96} bytes per label of {files[1].name}, got "
            f"{pixels.size} bytes and {len(labels)} labels; is it cut off?"
        )
    pictures = pixels.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(pictures), labels.astype(np.int64) - 1


def read_usps(files: Sequence[Path]) -> Rows:
    """Returns the pictures of a packed text: a line has a label, and 256 numbers in [-1, 1]."""
    try:
        with bz2.open(files[0], "rt") as lines:
            rows = [line.split() for line in lines]
        values = [[float(text.rpartition(":")[2]) for text in row[1:]] for row in rows]
        pixels = (np.asarray(values, dtype=np.float32) + 1) / 2 * 255
        pictures = pixels.astype(np.uint8).reshape(-1, 1, 16, 16)
        return pictures, np.asarray([int(row[0]) - 1 for row in rows])
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{files[0]} is not in the format of USPS: {error}") from error
