"""Finds the results that no other result of the same model and data beats."""

import numpy as np
import pandas as pd


def front(pruned: pd.DataFrame, x: str) -> "pd.Series[bool]":
    """True for rows on the Pareto front of column `x` (higher is better) and mean top-1.

    A row is on the front if no other row has at least its `x` and its accuracy, and more of one of
    them. Failed results are not on the front.

    >>> rows = pd.DataFrame({"x": [2.0, 4.0, 8.0], "top1_fraction_mean": [0.9, 0.95, 0.5]})
    >>> front(rows, "x").tolist()
    [False, True, True]
    """
    drawn = pruned[np.isfinite(pruned[x]) & pruned["top1_fraction_mean"].notna()]
    best = drawn.groupby(x)["top1_fraction_mean"].max().sort_index(ascending=False)
    beyond = best.cummax().shift(fill_value=-np.inf)
    accuracy = pruned["top1_fraction_mean"]
    return (accuracy == pruned[x].map(best)) & (accuracy > pruned[x].map(beyond))
