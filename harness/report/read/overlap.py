"""Measures the overlap of the masks of two methods, from masks.safetensors of their runs."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from harness.report.read.folders import damaged

FILE = "masks.safetensors"
# A limit for speed: a ResNet-50 has 25 MB of masks.
MOST_BYTES = 2**30
_PAIR_KEYS = ["model", "data", "requested", "seed"]


def overlaps(runs: Path, results: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """iou = |A and B| / |A or B| of the masks of each two labels at one requested compression.

    The iou is over all prunable weights, mean over the common seeds. Independent random masks of
    density d have d / (2 - d). A run with several levels has the masks of its last level. Returns
    the columns model, data, requested, first, second, iou, seeds, and notes on unreadable files.
    """
    last = results["level"] == results.groupby("folder")["level"].transform("max")
    rows = results[(results["level"] > 0) & last]
    files = {folder: runs / folder / FILE for folder in rows["folder"]}
    sizes = {folder: file.stat().st_size for folder, file in files.items() if file.exists()}
    rows, notes = _limited(rows[rows["folder"].isin(sizes)], sizes)
    pairs = [pair for _, same in rows.groupby(_PAIR_KEYS) for pair in _pairs(runs, same, notes)]
    return _table(pairs), notes


def _limited(rows: pd.DataFrame, sizes: dict[str, int]) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows of the lowest seeds whose masks have at most MOST_BYTES together."""
    of_seed = rows["folder"].map(sizes).groupby(rows["seed"]).sum().sort_index()
    seeds = of_seed.index[of_seed.cumsum() <= MOST_BYTES]
    if len(seeds) == len(of_seed):
        return rows, []
    note = f"the overlap of masks uses the first {len(seeds)} of {len(of_seed)} seeds: all masks "
    note += f"take more than {MOST_BYTES >> 20} MiB"
    return rows[rows["seed"].isin(seeds)], [note]


def _pairs(runs: Path, rows: pd.DataFrame, notes: list[str]) -> Iterator[tuple[object, ...]]:
    keys = tuple(rows.iloc[0][_PAIR_KEYS])
    masks = {}
    for label, folder in sorted(zip(rows["label"], rows["folder"], strict=True)):
        try:
            if reason := damaged(runs / folder, FILE):
                raise ValueError(reason)
            tensors = safetensors.numpy.load_file(runs / folder / FILE)
            flat = np.concatenate([tensors[name].ravel() for name in sorted(tensors)])
            masks[label] = np.packbits(flat)
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            notes.append(f"{folder}/{FILE} cannot be read ({error}): left out of the overlap")
    for first, second in combinations(masks, 2):
        if masks[first].size == masks[second].size:
            yield (*keys, first, second, iou(masks[first], masks[second]))


def iou(
    first: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
    second: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
) -> float:
    """Returns the intersection over union of two masks of packed bits; 1 where both are empty.

    >>> iou(np.packbits([1, 1, 0, 0]), np.packbits([0, 1, 1, 0]))
    0.3333333333333333
    """
    either = int(np.bitwise_count(first | second).sum())
    return int(np.bitwise_count(first & second).sum()) / either if either else 1.0


def _table(pairs: list[tuple[object, ...]]) -> pd.DataFrame:
    rows = pd.DataFrame(pairs, columns=[*_PAIR_KEYS, "first", "second", "iou"])
    keys = ["model", "data", "requested", "first", "second"]
    means = rows.groupby(keys).agg(iou=("iou", "mean"), seeds=("seed", "count"))
    return means.reset_index()
