"""Finds the results that no other result of the same model and data beats."""

import numpy as np
import pandas as pd


def front(pruned: pd.DataFrame, x: str) -> "pd.Series[bool]":
    """True for rows on the Pareto front of column `x` (higher is better) and the mean measure.

    A row is on the front if no other row has at least its `x` and its accuracy, and more of one of
    them. Failed results are not on the front.

    >>> rows = pd.DataFrame({"x": [2.0, 4.0, 8.0], "top1_fraction_mean": [0.9, 0.95, 0.5]})
    >>> front(rows, "x").tolist()
    [False, True, True]
    """
    value = higher_better(pruned)
    drawn = value[np.isfinite(pruned[x]) & value.notna()]
    best = drawn.groupby(pruned[x]).max().sort_index(ascending=False)
    beyond = best.cummax().shift(fill_value=-np.inf)
    return (value == pruned[x].map(best)) & (value > pruned[x].map(beyond))


def higher_better(rows: pd.DataFrame) -> "pd.Series[float]":
    """Returns the mean of the primary measure, negative where lower is better.

    >>> rows = pd.DataFrame({"top1_fraction_mean": [0.9, 0.5], "higher_is_better": [True, False]})
    >>> higher_better(rows).tolist()
    [0.9, -0.5]
    """
    means = rows["top1_fraction_mean"]
    return means.where(rows["higher_is_better"], -means) if "higher_is_better" in rows else means
