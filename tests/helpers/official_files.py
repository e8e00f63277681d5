"""Writes a few pictures in the official file formats of CIFAR-10, MNIST and ImageNet's folders."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = ("train", "validation", "test")


def write_cifar10(root: Path, per_file: int = 10) -> None:
    """Writes the python layout: five files of training pictures and one of test pictures."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        pixels = draw.integers(0, 256, (per_file, 3072), dtype=np.uint8)
        labels = [number % 10 for number in range(per_file)]
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))


def write_mnist(root: Path, pictures: int = 60) -> None:
    """Writes the idx format: 0, 0, type, axes, the sizes and the numbers, all big-endian."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (pictures, 28, 28), dtype=np.uint8)
    labels = np.arange(pictures, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_idx(labels))


def write_imagenet(root: Path, classes: int = 2, pictures: int = 4, size: int = 32) -> None:
    """Writes JPEG pictures into a folder per class, below a folder per part."""
    draw = np.random.default_rng(0)
    for part in PARTS:
        for number in range(classes):
            folder = root / part / f"n{number:08}"
            folder.mkdir(parents=True)
            for each in range(pictures):
                pixels = draw.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{each}.JPEG")


def _idx(values: np.ndarray) -> bytes:
    sizes = np.array(values.shape, ">u4").tobytes()
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()
