"""Computes average ranks of methods over settings, and the distance at which ranks differ."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from harness.report.read.survey import Ranks
from harness.report.significance import stats
from harness.report.significance.pareto import higher_better

# Columns of a summary that define a setting. 4x in MACs and 4x in parameters are two settings.
_SETTING = ["model", "data", "requested_counts", "requested_compression_ratio"]


def rankings(summary: pd.DataFrame) -> list[Ranks]:
    """Returns ranks per model and data set, and ranks over all of them if there are several.

    A setting is a (model, data, compression). Seeds repeat a setting, so they are averaged first
    (Demsar 2006, JMLR 7, section 3.2). 1x does not count, because nothing is pruned. A method is
    ranked if it has a result in every setting that most methods have. A result whose seeds all
    failed is last. Ranks need at least two methods and two settings.
    """
    pruned = summary[(summary["level"] > 0) & (summary["requested_compression_ratio"] > 1)]
    sections = [
        (f"{model} on {data}", rows) for (model, data), rows in pruned.groupby(["model", "data"])
    ]
    if len(sections) > 1:
        sections.append((f"all {len(sections)} models and data sets", pruned))
    return [ranks for title, rows in sections for ranks in _ranked(title, rows)]


def _ranked(title: str, rows: pd.DataFrame) -> Iterator[Ranks]:
    keys = [rows[key] for key in _SETTING]
    present = rows["label"].groupby([*keys, rows["label"]]).size().unstack() > 0
    shared = present[present.sum(axis=1) > present.shape[1] / 2]
    missing = (~shared).sum()
    names = [str(name) for name in missing.index[missing == 0]]
    if len(shared) < 2 or len(names) < 2:
        return
    ordered = rows.assign(value=higher_better(rows))
    means = ordered.set_index([*_SETTING, "label"])["value"].unstack()
    ranked = stats.ranks(means.loc[shared.index, names].to_numpy())
    mean = dict(sorted(zip(names, ranked.mean(axis=0).tolist(), strict=True), key=_by_rank))
    distance = stats.critical_difference(len(names), len(shared))
    friedman = stats.friedman_p(ranked)
    left_out = {str(name): int(count) for name, count in missing[missing > 0].items()}
    groups = _groups(mean, np.inf if friedman >= stats.ALPHA else distance)
    yield Ranks(title, mean, len(shared), friedman, distance, groups, left_out, stats.ALPHA)


def _by_rank(item: tuple[str, float]) -> tuple[float, str]:
    return item[1], item[0].casefold()


def _groups(mean: dict[str, float], distance: float) -> list[list[str]]:
    """Returns the largest groups of methods whose mean ranks differ by less than `distance`.

    >>> _groups({"A": 1.0, "B": 1.5, "C": 2.2, "D": 4.0}, distance=1.0)
    [['A', 'B'], ['B', 'C']]
    """
    names, groups, reached = list(mean), list[list[str]](), 0
    for start, first in enumerate(names):
        end = start + sum(mean[name] - mean[first] < distance for name in names[start:])
        if end > max(reached, start + 1):
            groups.append(names[start:end])
            reached = end
    return groups
