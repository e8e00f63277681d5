"""Computes statistics over seeds and settings with scipy; plain numbers in and out.

Differences smaller than a billionth of a point are floating-point rounding: no test set is large
enough to show them. `exact` removes them before ties and zeros are counted.
"""

from collections.abc import Iterator, Sequence
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Values = NDArray[np.float64]

CONFIDENCE = 0.95
ALPHA = 0.05
RESAMPLES = 9999
TESTS = ("t", "wilcoxon")
# Mean and spread of fewer seeds say little; such results are shown and marked.
FEW_SEEDS = 3
# Number of cells whose resamples are in memory at once.
_CHUNK = 500


def exact(values: ArrayLike) -> Values:
    """Rounds to nine digits after the point, so that equal differences are equal.

    >>> 0.3 - 0.2 == 0.2 - 0.1, exact([0.3 - 0.2, 0.2 - 0.1]).tolist()
    (False, [0.1, 0.1])
    """
    return np.round(np.asarray(values, dtype=float), 9)


def intervals(cells: Sequence[ArrayLike]) -> Values:
    """Returns the 95 % bootstrap interval of each cell's mean, a row (low, high); NaN for n < 2.

    The method is the percentile method with 9999 resamples, which are always the same. A cell's
    interval depends neither on other cells nor on the order of its values. BCa is not used: it
    estimates bias and skewness from the same few values, and has no answer for equal values.

    With few seeds the interval is too narrow. Up to three seeds, it reaches from the least value to
    the greatest. That misses the centre of a symmetric distribution with chance 2 x 0.5^n, 1 in 4
    at n = 3.

    Values must be finite. Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, 13.
    """
    sorted_cells = [np.sort(np.asarray(cell, dtype=float)) for cell in cells]
    ends = np.full((len(cells), 2), nan)
    for indices, same in _by_size(sorted_cells):
        bounds = stats.bootstrap(
            (same,),
            np.mean,
            axis=-1,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=500,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        # The mean of equal values may differ from them by a last digit.
        ends[indices] = np.clip(np.stack(bounds, axis=-1), same[:, :1], same[:, -1:])
    return ends


def _by_size(cells: list[Values]) -> Iterator[tuple[list[int], Values]]:
    for size in sorted({len(cell) for cell in cells} - {0, 1}):
        indices = [index for index, cell in enumerate(cells) if len(cell) == size]
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            yield chunk, np.stack([cells[index] for index in chunk])


def paired_p(differences: ArrayLike, test: str = "t") -> float:
    """Returns the two-sided p of the hypothesis that paired differences have centre 0.

    "t" is the paired t test. "wilcoxon" is the signed-rank test without the zeros. It is exact up
    to n = 50 without ties, and up to n = 13 with ties or zeros; beyond, it is a normal
    approximation. The result is NaN for n < 2, and 1 where all differences are 0. For "t" it is NaN
    where all differences are equal but not 0, because they have no spread.

    Source: Demsar 2006, JMLR 7, section 3.1.
    """
    values = exact(differences)
    if len(values) < 2:
        return nan
    if not values.any():
        return 1.0
    if test == "wilcoxon":
        return float(stats.wilcoxon(values).pvalue)
    return nan if np.ptp(values) == 0 else float(stats.ttest_rel(values, np.zeros_like(values))[1])


def unpaired_p(first: ArrayLike, second: ArrayLike) -> float:
    """Returns the two-sided p of Welch's t test, which allows each mean its own spread.

    The result is NaN where a side has n < 2. Where neither side has a spread, it is 1 for equal
    means, else NaN.
    """
    left, right = exact(first), exact(second)
    if min(len(left), len(right)) < 2:
        return nan
    if np.ptp(left) == np.ptp(right) == 0:
        return 1.0 if left[0] == right[0] else nan
    # Not ttest_ind, which warns where one side has no spread.
    numbers = [f(side) for side in (left, right) for f in (np.mean, _std, len)]
    return float(stats.ttest_ind_from_stats(*numbers, equal_var=False).pvalue)


def least_wilcoxon_p(count: int) -> float:
    """Returns 2^(1 - count): the least two-sided p of Wilcoxon's test for `count` differences.

    >>> least_wilcoxon_p(5), least_wilcoxon_p(6)
    (0.0625, 0.03125)
    """
    return float(2.0 ** (1 - count))


def holm(p: ArrayLike) -> Values:
    """Corrects the p of several comparisons by Holm's method; NaN does not count.

    >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]

    The i-th smallest of m is multiplied by m - i + 1, and is at least its predecessor. scipy does
    not implement this.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    corrected = np.full(values.shape, nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return corrected


def effect_size(differences: ArrayLike) -> float:
    """d_z = mean / std (ddof 1) of paired differences.

    The result is NaN for n < 2. Where all differences are equal, it is 0 if they are 0, else NaN.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, 2.3.5.
    """
    values = exact(differences)
    if len(values) < 2:
        return nan
    if np.ptp(values) == 0:
        return nan if values[0] else 0.0
    return float(values.mean()) / _std(values)


def _std(values: Values) -> float:
    return float(values.std(ddof=1))


def ranks(scores: ArrayLike) -> Values:
    """Ranks the methods (columns) in each setting (row): 1 is the highest score, NaN is last.

    Equal scores get the mean of their ranks.

    >>> ranks([[0.9, 0.8, 0.9], [0.7, float("nan"), 0.6]]).tolist()
    [[1.5, 3.0, 1.5], [1.0, 3.0, 2.0]]
    """
    values = exact(scores)
    ranked: Values = stats.rankdata(-np.where(np.isnan(values), -inf, values), axis=1)
    return ranked


def friedman_p(ranked: Values) -> float:
    """Returns the p of Friedman's test on `ranks`: the hypothesis is that all methods are equal.

    The result is NaN for fewer than three methods or two settings, and 1 where all ranks are equal.
    """
    settings, methods = ranked.shape
    if methods < 3 or settings < 2:
        return nan
    return 1.0 if np.ptp(ranked) == 0 else float(stats.friedmanchisquare(*ranked.T).pvalue)


def critical_difference(methods: int, settings: int) -> float:
    """q sqrt(k (k + 1) / (6 N)) for k methods in N settings (Nemenyi).

    Two mean ranks that are further apart differ, at alpha = 0.05 over all pairs. q is the quantile
    of the studentized range for infinite degrees of freedom, divided by sqrt 2.

    >>> round(critical_difference(methods=4, settings=14), 2)
    1.25

    Source: Demsar 2006, JMLR 7, section 3.2.2 and table 5.
    """
    return float(nemenyi_q(methods) * sqrt(methods * (methods + 1) / (6 * settings)))


def nemenyi_q(methods: int) -> float:
    return float(stats.studentized_range.ppf(1 - ALPHA, methods, inf) / sqrt(2))
