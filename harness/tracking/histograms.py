"""Counts histograms: densities over the layers, and unpruned weights within each layer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy

from harness.run_folder.outcome import MASKS, MODEL
from harness.run_folder.records import Record

Counts = tuple[np.ndarray, np.ndarray]  # counts per bin, edges of the bins

DENSITY_BINS, WEIGHT_BINS = 20, 64


def densities(record: Record) -> Counts:
    """Counts the prunable tensors by density, in bins of 0.05 from 0 to 1."""
    return np.histogram(list(record.layers.values()), bins=DENSITY_BINS, range=(0, 1))


def live_weights(folder: Path) -> Iterator[tuple[str, Counts]]:
    """Yields name and histogram of the unpruned weights of each prunable tensor.

    The 64 bins reach from the least weight to the largest. A tensor without weights is left out.
    Yields nothing if the run folder has no model or no masks.
    """
    if not (folder / MASKS).exists() or not (folder / MODEL).exists():
        return
    masks = safetensors.numpy.load_file(folder / MASKS)
    with safetensors.safe_open(folder / MODEL, framework="numpy") as state:
        for name, mask in sorted(masks.items()):
            live = state.get_tensor(name)[mask]
            if live.size:
                yield name, np.histogram(live, bins=WEIGHT_BINS)
