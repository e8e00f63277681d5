"""How much of their masks methods have in common, from the masks.safetensors of their runs."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from harness.report.read.folders import damaged

FILE = "masks.safetensors"
# Reading more would keep a report waiting; a ResNet-50 has 25 MB of masks.
MOST_BYTES = 2**30
_PAIR_KEYS = ["model", "data", "requested", "seed"]


def overlaps(runs: Path, results: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Intersection over union of the masks of each two labels at the same requested compression.

    iou = |A and B| / |A or B| over all prunable weights, mean over the common seeds; independent
    random masks of density d have d / (2 - d). Of a run with several levels the last has masks.
    Columns: model, data, requested, one, other, iou, seeds; and notes on what could not be read.
    """
    last = results["level"] == results.groupby("folder")["level"].transform("max")
    rows = results[(results["level"] > 0) & last]
    files = {folder: runs / folder / FILE for folder in rows["folder"]}
    there = {folder: file.stat().st_size for folder, file in files.items() if file.exists()}
    rows, notes = _few(rows[rows["folder"].isin(there)], there)
    found = [pair for _, same in rows.groupby(_PAIR_KEYS) for pair in _pairs(runs, same, notes)]
    return _table(found), notes


def _few(rows: pd.DataFrame, size: dict[str, int]) -> tuple[pd.DataFrame, list[str]]:
    """Seeds, from the least on, whose masks can be read in time."""
    of_seed = rows["folder"].map(size).groupby(rows["seed"]).sum().sort_index()
    seeds = of_seed.index[of_seed.cumsum() <= MOST_BYTES]
    if len(seeds) == len(of_seed):
        return rows, []
    note = (
        f"overlap of masks is of {len(seeds)} of {len(of_seed)} seeds, the first ones: all masks "
    )
    note += f"take more than {MOST_BYTES >> 20} MiB"
    return rows[rows["seed"].isin(seeds)], [note]


def _pairs(runs: Path, rows: pd.DataFrame, notes: list[str]) -> Iterator[tuple[object, ...]]:
    place = tuple(rows.iloc[0][_PAIR_KEYS])
    masks = {}
    for label, folder in sorted(zip(rows["label"], rows["folder"], strict=True)):
        try:
            if why := damaged(runs / folder, FILE):
                raise ValueError(why)
            tensors = safetensors.numpy.load_file(runs / folder / FILE)
            flat = np.concatenate([tensors[name].ravel() for name in sorted(tensors)])
            masks[label] = np.packbits(flat)
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            notes.append(f"{folder}/{FILE} cannot be read ({error}): left out of the overlap")
    for one, other in combinations(masks, 2):
        if masks[one].size == masks[other].size:
            yield (*place, one, other, iou(masks[one], masks[other]))


def iou(
    one: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
    other: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
) -> float:
    """Of packed bits; 1 where both are empty.

    >>> iou(np.packbits([1, 1, 0, 0]), np.packbits([0, 1, 1, 0]))
    0.3333333333333333
    """
    either = int(np.bitwise_count(one | other).sum())
    return int(np.bitwise_count(one & other).sum()) / either if either else 1.0


def _table(found: list[tuple[object, ...]]) -> pd.DataFrame:
    rows = pd.DataFrame(found, columns=[*_PAIR_KEYS, "one", "other", "iou"])
    keys = ["model", "data", "requested", "one", "other"]
    means = rows.groupby(keys).agg(iou=("iou", "mean"), seeds=("seed", "count"))
    return means.reset_index()
