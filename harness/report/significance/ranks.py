"""Average ranks of methods over settings, and how far apart ranks must lie to differ."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from harness.report.read.survey import Ranks
from harness.report.significance import stats

# Of a summary: what a block is. Of macs and parameters 4x are two settings.
_SETTING = ["model", "data", "target_counts", "target_compression_ratio"]


def rankings(summary: pd.DataFrame) -> list[Ranks]:
    """One per model and data set, over compressions; then one over everything, if more than one.

    A setting is a (model, data, compression): seeds are averaged before, for they repeat a setting
    and are none of their own (Demsar 2006, JMLR 7, section 3.2). At 1x nothing is pruned, so it
    does not count. Ranked are the methods that have a result in every setting that most methods
    have; a result whose seeds all failed is last. Two methods or two settings at least.
    """
    pruned = summary[(summary["level"] > 0) & (summary["target_compression_ratio"] > 1)]
    sections = [
        (f"{model} on {data}", rows) for (model, data), rows in pruned.groupby(["model", "data"])
    ]
    if len(sections) > 1:
        sections.append((f"all {len(sections)} models and data sets", pruned))
    return [found for title, rows in sections for found in _ranked(title, rows)]


def _ranked(title: str, rows: pd.DataFrame) -> Iterator[Ranks]:
    place = [rows[key] for key in _SETTING]
    there = rows["label"].groupby([*place, rows["label"]]).size().unstack() > 0
    shared = there[there.sum(axis=1) > there.shape[1] / 2]
    gone = (~shared).sum()
    names = [str(name) for name in gone.index[gone == 0]]
    if len(shared) < 2 or len(names) < 2:
        return
    means = rows.set_index([*_SETTING, "label"])["top1_share_mean"].unstack()
    ranked = stats.ranks(means.loc[shared.index, names].to_numpy())
    mean = dict(sorted(zip(names, ranked.mean(axis=0).tolist(), strict=True), key=_by_rank))
    distance = stats.critical_difference(len(names), len(shared))
    friedman = stats.friedman_p(ranked)
    left_out = {str(name): int(count) for name, count in gone[gone > 0].items()}
    groups = _groups(mean, np.inf if friedman >= stats.ALPHA else distance)
    yield Ranks(title, mean, len(shared), friedman, distance, groups, left_out, stats.ALPHA)


def _by_rank(item: tuple[str, float]) -> tuple[float, str]:
    return item[1], item[0].casefold()


def _groups(mean: dict[str, float], distance: float) -> list[list[str]]:
    """The largest runs of methods whose mean ranks lie less than `distance` apart.

    >>> _groups({"A": 1.0, "B": 1.5, "C": 2.2, "D": 4.0}, distance=1.0)
    [['A', 'B'], ['B', 'C']]
    """
    names, found, reached = list(mean), list[list[str]](), 0
    for start, first in enumerate(names):
        end = start + sum(mean[name] - mean[first] < distance for name in names[start:])
        if end > max(reached, start + 1):
            found.append(names[start:end])
            reached = end
    return found
