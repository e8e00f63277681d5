"""Statistics over seeds and settings, through scipy; plain numbers in and out.

Differences smaller than a billionth of a point are rounding of floating-point numbers: no test set
is large enough to show them, so `exact` takes them away before ties and zeros are looked for.
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
# Fewer give a mean and a spread that say little; they are shown and flagged.
FEW_SEEDS = 3
# Cells whose resamples are in memory at once.
_CHUNK = 500


def exact(values: ArrayLike) -> Values:
    """Rounded to nine digits after the point, so that equal differences are equal.

    >>> 0.3 - 0.2 == 0.2 - 0.1, exact([0.3 - 0.2, 0.2 - 0.1]).tolist()
    (False, [0.1, 0.1])
    """
    return np.round(np.asarray(values, dtype=float), 9)


def intervals(cells: Sequence[ArrayLike]) -> Values:
    """95 % bootstrap interval of the mean of each cell: (low, high) in a row; NaN for n < 2.

    Percentile method, 9999 resamples, always the same: a cell's interval depends neither on other
    cells nor on the order of its values. Not BCa: it estimates bias and skewness from the same few
    values, and has no answer for equal ones. With few seeds the interval is too narrow: up to
    three it reaches from the least value to the greatest, which misses the centre of a symmetric
    distribution with chance 2 x 0.5^n, 1 in 4 at n = 3.

    Values must be finite. Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, 13.
    """
    sorted_ones = [np.sort(np.asarray(cell, dtype=float)) for cell in cells]
    found = np.full((len(cells), 2), nan)
    for places, same in _by_size(sorted_ones):
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
        # A mean of equal values may miss them by a last digit.
        found[places] = np.clip(np.stack(bounds, axis=-1), same[:, :1], same[:, -1:])
    return found


def _by_size(cells: list[Values]) -> Iterator[tuple[list[int], Values]]:
    for size in sorted({len(cell) for cell in cells} - {0, 1}):
        places = [place for place, cell in enumerate(cells) if len(cell) == size]
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            yield chunk, np.stack([cells[place] for place in chunk])


def paired_p(differences: ArrayLike, test: str = "t") -> float:
    """Two-sided p of paired differences: could their centre be 0?

    "t": paired t test. "wilcoxon": signed-rank test without the zeros; exact without ties up to
    n = 50 and with ties or zeros up to 13, a normal approximation beyond. NaN for n < 2, 1 where
    all are 0, and NaN for t where all are equal but not 0: without a spread it has no answer.

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


def unpaired_p(one: ArrayLike, other: ArrayLike) -> float:
    """Two-sided p of Welch's t test: could two means be equal, each with its own spread?

    NaN where one has n < 2; where neither has a spread, 1 for equal means, else NaN.
    """
    left, right = exact(one), exact(other)
    if min(len(left), len(right)) < 2:
        return nan
    if np.ptp(left) == np.ptp(right) == 0:
        return 1.0 if left[0] == right[0] else nan
    # Not ttest_ind: it warns where one of the two has no spread.
    numbers = [f(side) for side in (left, right) for f in (np.mean, _std, len)]
    return float(stats.ttest_ind_from_stats(*numbers, equal_var=False).pvalue)


def least_wilcoxon_p(count: int) -> float:
    """The smallest two-sided p that Wilcoxon's test can give for so many differences.

    >>> least_wilcoxon_p(5), least_wilcoxon_p(6)
    (0.0625, 0.03125)
    """
    return float(2.0 ** (1 - count))


def holm(p: ArrayLike) -> Values:
    """p of several comparisons, corrected so that they hold together; NaN ones do not count.

    >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]

    Source: Holm 1979, Scandinavian Journal of Statistics 6: the i-th smallest of m is multiplied
    by m - i + 1, and none becomes less than the one before it. scipy has none.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    corrected = np.full(values.shape, nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return corrected


def effect_size(differences: ArrayLike) -> float:
    """d_z = mean / std (ddof 1) of paired differences.

    NaN for n < 2; where all are equal, 0 if they are 0, else NaN.

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
    """Rank of each method (column) in each setting (row): 1 is the highest score, NaN is last.

    Equal scores share the mean of their ranks.

    >>> ranks([[0.9, 0.8, 0.9], [0.7, float("nan"), 0.6]]).tolist()
    [[1.5, 3.0, 1.5], [1.0, 3.0, 2.0]]
    """
    values = exact(scores)
    found: Values = stats.rankdata(-np.where(np.isnan(values), -inf, values), axis=1)
    return found


def friedman_p(ranked: Values) -> float:
    """p of Friedman's test on `ranks`: could all methods be equal?

    NaN for fewer than three methods or two settings, 1 where all ranks are equal.
    """
    settings, methods = ranked.shape
    if methods < 3 or settings < 2:
        return nan
    return 1.0 if np.ptp(ranked) == 0 else float(stats.friedmanchisquare(*ranked.T).pvalue)


def critical_difference(methods: int, settings: int) -> float:
    """Nemenyi: mean ranks that lie further apart differ, at alpha = 0.05 over all pairs.

    q sqrt(k (k + 1) / (6 N)) of k methods in N settings; q is that of the studentized range for
    infinite degrees of freedom, divided by sqrt 2.

    >>> round(critical_difference(methods=4, settings=14), 2)
    1.25

    Source: Demsar 2006, JMLR 7, section 3.2.2 and table 5.
    """
    return float(nemenyi_q(methods) * sqrt(methods * (methods + 1) / (6 * settings)))


def nemenyi_q(methods: int) -> float:
    return float(stats.studentized_range.ppf(1 - ALPHA, methods, inf) / sqrt(2))
