"""Adds up the cost of training: totals of a run up to each record, and a line per method."""

from collections.abc import Callable

import numpy as np
import pandas as pd

# Fields of a record (since the previous record), and their sums from the beginning of the run.
TOTALS = {
    "epochs": "total_epochs",
    "steps": "total_steps",
    "examples": "total_examples",
    "training_flops": "total_training_flops",
    "training_flops_dense": "total_training_flops_dense",
}
TITLE = "training cost from a run's beginning to its result, over all compressions"
_FLOPS = f"{TOTALS['training_flops']}_mean"
_UNITS = {"EFLOP": 1e18, "PFLOP": 1e15, "TFLOP": 1e12, "GFLOP": 1e9, "MFLOP": 1e6}


def with_totals(records: pd.DataFrame) -> pd.DataFrame:
    """Adds TOTALS over all stages, dense training included, in the order of each run's records.

    A total is NaN from the first record that has not measured its field.
    """
    numbers = records[list(TOTALS)].astype(float)
    sums = numbers.groupby(records["folder"]).cumsum(skipna=False)
    return records.join(sums.rename(columns=TOTALS))


def costs(dense: pd.DataFrame, pruned: pd.DataFrame) -> pd.DataFrame:
    """Returns texts per label: epochs, FLOPs under the masks, FLOPs relative to dense training.

    dense and pruned are rows of a summary. A range goes from the cheapest to the most expensive
    compression. The reference is the dense training where the section has exactly one. The table is
    empty if no record has measured FLOPs.
    """
    rows = pd.concat([dense, pruned])
    if not rows[_FLOPS].notna().any():
        return pd.DataFrame()
    unit, flops = _unit(rows[_FLOPS].max())
    reference = dense[_FLOPS].iloc[0] if len(dense) == 1 else np.nan
    texts = {
        "Epochs": _ranges(rows, lambda row: row["total_epochs_mean"]),
        unit: _ranges(rows, lambda row: row[_FLOPS] / flops),
        f"{unit} / dense training": _ranges(
            rows, lambda row: row[_FLOPS] / reference if reference else np.nan
        ),
    }
    ordered = [*sorted(set(dense["label"])), *pruned["label"].unique()]
    return pd.DataFrame(texts).loc[ordered]


def _ranges(rows: pd.DataFrame, of: Callable[["pd.Series[float]"], float]) -> dict[str, str]:
    values = pd.Series([of(row) for _, row in rows.iterrows()], index=rows["label"], dtype=float)
    return {str(label): span(same.min(), same.max()) for label, same in values.groupby(level=0)}


def span(least: float, most: float) -> str:
    """Formats a range, or one number if both ends print alike.

    >>> span(12, 12), span(0.1, 1.25), span(float("nan"), float("nan"))
    ('12', '0.1 to 1.25', '-')
    """
    if np.isnan(least):
        return "-"
    ends = dict.fromkeys((f"{least:.4g}", f"{most:.4g}"))
    return " to ".join(ends)


def _unit(most: float) -> tuple[str, float]:
    return next((unit for unit in _UNITS.items() if most >= unit[1]), ("MFLOP", 1e6))
