"""Averages learning curves over seeds: training loss and validation accuracy per epoch."""

import numpy as np
import pandas as pd

from harness.report.read.records import measure_of

KEYS = ["model", "data", "label", "requested"]
# A line has no more points than a screen can show.
MOST_POINTS = 200


def curves(records: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per label, requested compression of the last level, and epoch of the whole run.

    Epochs count from the first epoch of the run, dense training included. loss is the minimised
    loss; top1_percent is the primary measure on validation data, in % if it is a fraction. The
    table is empty if no record has them.
    """
    last = results["level"] == results.groupby("folder")["level"].transform("max")
    ends = results.loc[last & (results["level"] > 0), ["folder", *KEYS]]
    points = _points(records).merge(ends, on="folder")
    means = points.groupby([*KEYS, "epoch"], as_index=False)[["loss", "top1_percent"]].mean()
    return means.groupby(KEYS, group_keys=False)[list(means.columns)].apply(_thinned)


def _points(records: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per run and epoch: folder, epoch, loss, top1_percent."""
    measured = zip(records["epoch_losses"], records["epoch_validation"], strict=True)
    pairs = [list(zip(losses or (), top1 or (), strict=False)) for losses, top1 in measured]
    loss, top1 = np.array([pair for epochs in pairs for pair in epochs], float).reshape(-1, 2).T
    folder = records["folder"].repeat([len(epochs) for epochs in pairs])
    points = pd.DataFrame(
        {"folder": folder.array, "loss": loss, "top1_percent": measure_of(records).factor * top1}
    )
    return points.assign(epoch=points.groupby("folder").cumcount() + 1)


def _thinned(line: pd.DataFrame) -> pd.DataFrame:
    if len(line) <= MOST_POINTS:
        return line
    return line.iloc[np.unique(np.linspace(0, len(line) - 1, MOST_POINTS).round().astype(int))]
