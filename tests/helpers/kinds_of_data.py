"""Writes one small data set of each kind, and says by which keys a run reads it."""

from pathlib import Path

import numpy as np
import torch
from official_files import write_imagenet, write_mnist


class Points(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Computes each sample when it is read, as a data set of a user does."""

    def __len__(self) -> int:
        return 90

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.arange(6) * float(index % 3) + index / 90, index % 3


def points() -> Points:
    return Points()


def write_all(home: Path) -> dict[str, tuple[str, ...]]:
    """Returns the overrides by kind. Pictures and own samples are streamed by a worker."""
    write_imagenet(home / "pictures", pictures=12, size=8)
    write_mnist(home / "idx")
    rows = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32)
    np.savez(home / "rows.npz", inputs=rows, labels=(rows.sum(1) > 0).astype(int))
    streamed = ("workers=1", "hold_data=false")
    slow = "retraining.augmentation._target_=slowed.Pausing"
    size = ("data.size=8", "data.crop=1")
    kinds = {
        "pictures": (
            "data=image_folder", f"data.root={home}/pictures", *size, *streamed,
            "data.transforms=[RandomHorizontalFlip, {RandomCrop: {size: 8, padding: 2}}]",
        ),
        "idx": ("data=mnist", f"data.root={home}/idx", "data.verify=false", "data.validation=0.3"),
        "arrays": ("data=tensors", f"data.root={home}/rows.npz"),
        "own": ("data=python", "data.target=kinds_of_data:points", *streamed),
    }  # fmt: skip
    # Longer than all of them take to start.
    return {kind: (slow, "retraining.epochs=300", *words) for kind, words in kinds.items()}
