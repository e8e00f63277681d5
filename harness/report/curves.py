"""Learning curves: training loss and validation accuracy per epoch, means over seeds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

KEYS = ["model", "data", "label", "asked"]
# A line has no more points than a screen can show.
MOST_POINTS = 200


def curves(records: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """A row per label, asked compression of a run's last level, and epoch of the whole run.

    Epochs count from a run's first one, dense training included; loss as it was minimised,
    top1_percent on validation data. Empty where no record has measured them.
    """
    last = results["level"] == results.groupby("folder")["level"].transform("max")
    ends = results[last & (results["level"] > 0)]
    by_folder = dict(list(records.groupby("folder")))
    rows = [row for _, end in ends.iterrows() for row in _points(end, by_folder[end["folder"]])]
    if not rows:
        return pd.DataFrame(columns=[*KEYS, "epoch", "loss", "top1_percent"])
    means = pd.DataFrame(rows).groupby([*KEYS, "epoch"], as_index=False).mean()
    return means.groupby(KEYS, group_keys=False)[list(means.columns)].apply(_thinned)


def _points(end: "pd.Series[Any]", records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    at = {key: end[key] for key in KEYS}
    epoch = 0
    for losses, top1 in zip(records["epoch_losses"], records["epoch_top1"], strict=True):
        for loss, share in zip(losses or (), top1 or (), strict=False):
            epoch += 1
            yield {**at, "epoch": epoch, "loss": loss, "top1_percent": 100 * share}


def _thinned(line: pd.DataFrame) -> pd.DataFrame:
    if len(line) <= MOST_POINTS:
        return line
    return line.iloc[np.unique(np.linspace(0, len(line) - 1, MOST_POINTS).round().astype(int))]
