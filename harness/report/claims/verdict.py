"""Judges a claim by paired differences: effect, interval over seeds, and verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import stats

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NOISE, UNTESTED = "within noise", "not testable"
VERDICTS = (SUPPORTED, CONTRADICTED, NOISE, UNTESTED)
LEVEL = 0.95


@dataclass(frozen=True)
class Effect:
    """Holds the effect of one comparison."""

    comparison: str
    points: float  # mean over seeds of each seed's mean over cells
    low: float
    high: float
    # The interval for a decision by one of several comparisons.
    strict_low: float
    strict_high: float
    seeds: int
    cells: int


@dataclass(frozen=True)
class Verdict:
    """Holds the verdict on a claim, and its effects."""

    verdict: str
    effects: list[Effect]  # the deciding effect first


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Returns Student's t interval of the mean; NaN for fewer than two values.

    >>> [round(end, 3) for end in interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    if len(values) < 2:
        return nan, nan
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(level, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def judge(differences: pd.DataFrame, tolerance: float, mode: str) -> Verdict:
    """Supported: interval > -tolerance; contradicted: interval < -tolerance; else within noise.

    In mode "all", every comparison must be above to support, and one below contradicts. In mode
    "any", one above supports, and all must be below to contradict. The deciding effect is first.
    Where one of k comparisons decides, its interval has level 1 - 0.05 / k (Bonferroni). Seeds are
    the independent units, because the cells of a seed share its dense model and data order.
    """
    count = differences["comparison"].nunique()
    all_effects = [
        _effect(str(name), rows, count) for name, rows in differences.groupby("comparison")
    ]
    effects = [effect for effect in all_effects if effect.seeds > 1]
    if not effects:
        return Verdict(UNTESTED, [])
    if mode == "all":
        above = all(effect.low > -tolerance for effect in effects)
        below = any(effect.strict_high < -tolerance for effect in effects)
        effects.sort(key=lambda effect: effect.strict_high if below else effect.low)
    else:
        above = any(effect.strict_low > -tolerance for effect in effects)
        below = all(effect.high < -tolerance for effect in effects)
        effects.sort(key=lambda effect: effect.high if below else effect.strict_low, reverse=True)
    return Verdict(CONTRADICTED if below else SUPPORTED if above else NOISE, effects)


def _effect(name: str, rows: pd.DataFrame, count: int) -> Effect:
    means = rows.groupby("seed")["points"].mean().tolist()
    strict = interval(means, 1 - (1 - LEVEL) / count)
    cells = rows["cell"].nunique()
    return Effect(name, float(np.mean(means)), *interval(means), *strict, len(means), cells)
